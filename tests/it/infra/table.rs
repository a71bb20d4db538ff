//! The table: the one that the ledger uses, and items that are as small as `infra/cost` counts with.

use std::collections::BTreeSet;

use bedrock_key_guard::ledger::{INDEXES, table_definition};
use serde_json::{Value, json};

use super::{create_key, ledger_account, statements};
use crate::support::deployment::{Deployment, TABLE};
use crate::support::dynamodb::Dynamo;
use crate::support::template::Template;
use crate::support::{OWN, events};

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

/// What `infra/cost` counts with. A name counts as many bytes as it has, a text too (DynamoDB developer guide, "DynamoDB
/// item sizes and formats"); numbers, flags and nulls are short.
#[tokio::test]
async fn no_item_is_larger_than_two_units() {
    let world = Deployment::new().await;
    let function = world.start(&[("KEY_GUARD_CEILING", "delete")]);
    for (name, event) in events() {
        let credential = &event["detail"]["responseElements"]["serviceSpecificCredential"];
        if let (true, Some(id)) =
            (name.starts_with("created-"), credential["serviceSpecificCredentialId"].as_str())
        {
            let user = credential["userName"].as_str().unwrap();
            function.invoke(&create_key(&world.iam, &name, OWN, user, id));
        }
    }
    let items = world.dynamo.items(TABLE);
    assert!(items.len() > 30, "{}", items.len());
    for item in items {
        let size = size_of_fields(&item);
        assert!(size <= 2_048, "{size} bytes: {item}");
    }
}

/// How many bytes the fields of an item have, as DynamoDB counts them.
fn size_of_fields(fields: &Value) -> usize {
    fields.as_object().unwrap().iter().map(|(name, value)| name.len() + size_of_value(value)).sum()
}

fn size_of_value(value: &Value) -> usize {
    let (kind, value) = value.as_object().unwrap().iter().next().unwrap();
    match (kind.as_str(), value) {
        ("S", text) => text.as_str().unwrap().len(),
        ("M", fields) => 3 + fields.as_object().unwrap().len() + size_of_fields(fields),
        ("L", elements) => {
            let elements = elements.as_array().unwrap();
            3 + elements.iter().map(|element| 1 + size_of_value(element)).sum::<usize>()
        }
        ("N", _) => 21,
        ("BOOL" | "NULL", _) => 1,
        (other, _) => panic!("{other} is not known here"),
    }
}

#[test]
fn a_ledger_that_is_there_is_gone_on_with() {
    let template = Template::load("template.yaml", &[("LedgerTable", "earlier")]);
    assert!(template.resource("Ledger").is_none());
    let guard = template.resource("Guard").unwrap();
    assert_eq!(guard["Environment"]["Variables"]["KEY_GUARD_TABLE"], "earlier");
    let record =
        statements(&template.resource("GuardRole").unwrap()).into_iter().find(|one| one["Sid"] == "Record");
    let expected = format!("arn:aws:dynamodb:us-east-1:{OWN}:table/earlier");
    assert_eq!(record.unwrap()["Resource"], expected);
}
