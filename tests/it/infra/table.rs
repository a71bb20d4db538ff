//! The table: the one that the ledger uses, and items that are as small as `infra/cost` counts with.

use std::collections::BTreeSet;

use bedrock_key_guard::ledger::{INDEXES, table_definition};
use serde_json::{Value, json};

use super::{ledger_account, statements};
use crate::support::deployment::{Deployment, TABLE, TestKey};
use crate::support::dynamodb::Dynamo;
use crate::support::template::Template;
use crate::support::write_units::size_of_fields;
use crate::support::{OWN, event};

#[tokio::test]
async fn the_table_is_the_one_that_the_ledger_makes() {
    let table = ledger_account("monitor").resource("Ledger").unwrap();
    let definition = table_definition(&Dynamo::start().client().await, TABLE).unwrap();
    let definition = definition.as_input();
    let keys = |schema: &[aws_sdk_dynamodb::types::KeySchemaElement]| -> Value {
        schema
            .iter()
            .map(|key| json!({"AttributeName": key.attribute_name(), "KeyType": key.key_type().as_str()}))
            .collect()
    };
    assert_eq!(table["KeySchema"], keys(definition.get_key_schema().as_deref().unwrap()));
    let indexes = definition.get_global_secondary_indexes().as_deref().unwrap();
    assert_eq!(indexes.len(), INDEXES.len());
    let expected: Vec<_> = indexes
        .iter()
        .map(|index| {
            json!({
                "IndexName": index.index_name(), "KeySchema": keys(index.key_schema()),
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            })
        })
        .collect();
    assert_eq!(table["GlobalSecondaryIndexes"], json!(expected));
    let attributes: BTreeSet<String> = definition
        .get_attribute_definitions()
        .as_deref()
        .unwrap()
        .iter()
        .map(|attribute| {
            json!({"AttributeName": attribute.attribute_name(), "AttributeType": "S"}).to_string()
        })
        .collect();
    let made = table["AttributeDefinitions"].as_array().unwrap().iter().map(Value::to_string).collect();
    assert_eq!(attributes, made);
    assert_eq!(table["BillingMode"], "PAY_PER_REQUEST");
    assert_eq!(table["DeletionProtectionEnabled"], true);
    assert_eq!(table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"], true);
}

/// What `infra/cost` counts with.
#[tokio::test]
async fn a_compliant_key_costs_8_or_9_write_units_and_a_deleted_one_at_most_24() {
    let world = Deployment::new().await;
    let function = world.start(&[("KEY_GUARD_CEILING", "delete")]);
    // Who assumed a role has an entry in one more index.
    let (user, role) = ("created-by-user-for-itself", "created-by-identity-center-role");
    let cases = [(user, Some(30), 8), (role, Some(30), 9), (user, None, 23), (role, None, 24)];
    for (number, (creator, days, expected)) in (1..).zip(cases) {
        let key = TestKey::new(number, days).exists_in(&world.iam);
        let mut created = key.created();
        created["detail"]["userIdentity"] = event(creator)["detail"]["userIdentity"].clone();
        let report = function.invoke(&created).response();
        let units = world.dynamo.take_write_units();
        assert_eq!(units, expected, "{creator}, {days:?}: {report}");
    }
    for item in world.dynamo.items(TABLE) {
        let size = size_of_fields(&item);
        assert!(size <= 2_048, "{size} bytes: {item}");
    }
}

#[test]
fn a_ledger_that_is_there_is_gone_on_with() {
    let template = Template::load("template.yaml", &[("LedgerTable", "earlier")]);
    assert!(template.resource("Ledger").is_none());
    let guard = template.resource("Guard").unwrap();
    assert_eq!(guard["Environment"]["Variables"]["KEY_GUARD_TABLE"], "earlier");
    let statements = statements(&template.resource("GuardRole").unwrap());
    let resource = |sid: &str| &statements.iter().find(|one| one["Sid"] == sid).unwrap()["Resource"];
    let table = format!("arn:aws:dynamodb:us-east-1:{OWN}:table/earlier");
    assert_eq!(resource("Record"), &json!(table));
    let queried =
        ["", "/index/by_user", "/index/by_account", "/index/by_due"].map(|index| format!("{table}{index}"));
    assert_eq!(resource("FindKeys"), &json!(queried));
}
