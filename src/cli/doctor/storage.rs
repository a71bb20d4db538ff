//! Asks about the table and the queues.

use aws_sdk_dynamodb::types::{
    AttributeDefinition, IndexStatus, KeySchemaElement, KeyType, PointInTimeRecoveryStatus,
};
use aws_sdk_sqs::types::QueueAttributeName;
use futures_util::future::join_all;

use super::answer::answer;
use super::questions::Questions;
use crate::doctor::{self, Answer, Index, QueueDepth, Rule, Table, Unavailable};

impl Questions<'_> {
    /// The queues of the rules' targets, each once.
    pub(super) async fn undelivered(&self, rules: &[Rule]) -> Vec<Answer<QueueDepth>> {
        let mut queues: Vec<&str> = Vec::new();
        for rule in rules {
            if let Ok(targets) = &rule.targets {
                queues.extend(targets.iter().filter_map(|target| target.dead_letter.as_deref()));
            }
        }
        queues.sort_unstable();
        queues.dedup();
        join_all(queues.into_iter().map(|queue| self.waiting(queue))).await
    }

    pub(super) async fn waiting(&self, arn: &str) -> Answer<QueueDepth> {
        let Some((name, account)) = doctor::queue(arn) else {
            return Err(Unavailable::Unasked(format!("{arn} is no SQS queue")));
        };
        let missing = ["QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"];
        let client = aws_sdk_sqs::Client::new(self.sdk);
        let asked = client.get_queue_url().queue_name(name).queue_owner_aws_account_id(account).send().await;
        let url = answer("sqs:GetQueueUrl", asked, &missing)?.queue_url().unwrap_or_default().to_owned();
        let counts = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            QueueAttributeName::ApproximateNumberOfMessagesDelayed,
        ];
        let call = client.get_queue_attributes().queue_url(&url).set_attribute_names(Some(counts.into()));
        let action = "sqs:GetQueueAttributes";
        let answer = answer(action, call.send().await, &missing)?;
        let counts = answer.attributes().into_iter().flatten().map(|(_, count)| count.parse::<u64>());
        match counts.collect::<Result<Vec<_>, _>>() {
            Ok(counts) if !counts.is_empty() => {
                Ok(QueueDepth { arn: arn.to_owned(), url, messages: counts.iter().sum() })
            }
            Ok(_) | Err(_) => Err(Unavailable::Failed { action, why: "the answer has no count".to_owned() }),
        }
    }

    pub(super) async fn table(&self) -> Answer<Table> {
        let name = self.function.table()?;
        let asked = aws_sdk_dynamodb::Client::new(self.sdk).describe_table().table_name(name).send().await;
        let action = "dynamodb:DescribeTable";
        let described = answer(action, asked, &["ResourceNotFoundException"])?.table;
        let Some(table) = described else {
            return Err(Unavailable::Failed { action, why: "the answer is empty".to_owned() });
        };
        let types = table.attribute_definitions();
        Ok(Table {
            status: table.table_status().map_or("ACTIVE", |status| status.as_str()).to_owned(),
            keys: keys(table.key_schema(), types),
            indexes: table
                .global_secondary_indexes()
                .iter()
                .map(|index| {
                    let name = index.index_name().unwrap_or_default().to_owned();
                    let status = index.index_status().map_or("ACTIVE", IndexStatus::as_str).to_owned();
                    Index { name, status, keys: keys(index.key_schema(), types) }
                })
                .collect(),
            protected: table.deletion_protection_enabled().unwrap_or_default(),
        })
    }

    pub(super) async fn recovery(&self) -> Answer<bool> {
        let name = self.function.table()?;
        let call = aws_sdk_dynamodb::Client::new(self.sdk).describe_continuous_backups();
        let missing = ["TableNotFoundException", "ResourceNotFoundException"];
        answer("dynamodb:DescribeContinuousBackups", call.table_name(name).send().await, &missing).map(
            |answer| {
                answer
                    .continuous_backups_description()
                    .and_then(|backups| backups.point_in_time_recovery_description())
                    .and_then(|recovery| recovery.point_in_time_recovery_status())
                    == Some(&PointInTimeRecoveryStatus::Enabled)
            },
        )
    }
}

/// Names and types, partition key first.
fn keys(schema: &[KeySchemaElement], types: &[AttributeDefinition]) -> Vec<(String, String)> {
    let mut schema: Vec<&KeySchemaElement> = schema.iter().collect();
    schema.sort_by_key(|key| *key.key_type() != KeyType::Hash);
    let kind = |name: &str| {
        let of_name = types.iter().find(|attribute| attribute.attribute_name() == name);
        of_name.map_or("?", |attribute| attribute.attribute_type().as_str()).to_owned()
    };
    schema.into_iter().map(|key| (key.attribute_name().to_owned(), kind(key.attribute_name()))).collect()
}
