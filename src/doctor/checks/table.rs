//! Whether the table is a ledger, and safe.

use super::{fail, ok, unanswered, unknown, warn};
use crate::config::TABLE;
use crate::doctor::{Check, Finding, Stack, Unavailable};
use crate::ledger::{INDEXES, Index};

impl Stack {
    pub(super) fn table(&self) -> Finding {
        let check = Check::Table;
        let name = match (&self.table, self.function.table()) {
            (Ok(_) | Err(Unavailable::Absent), Ok(name)) => name,
            (Err(gap), _) => return unanswered(check, gap),
            (_, Err(gap)) => return unanswered(check, &gap),
        };
        let Ok(table) = &self.table else {
            return fail(
                check,
                format!("there is no table {name} in this account and region"),
                format!("deploy the stack again, or set {TABLE} to the table's name"),
            );
        };
        let string = |key: &str| (key.to_owned(), "S".to_owned());
        if table.keys != [string("pk"), string("sk")] {
            return fail(
                check,
                format!("{name} is no ledger: its keys are {}", keys(&table.keys)),
                format!("set {TABLE} to a table with the string keys pk (partition) and sk (sort)"),
            );
        }
        if !matches!(table.status.as_str(), "ACTIVE" | "UPDATING") {
            let found = format!("{name} is {}", table.status.to_lowercase());
            return fail(check, found, "wait until it is active, or deploy the stack again");
        }
        for Index { name: index, field: partition_key, sort: sort_key } in INDEXES {
            let wanted = [string(partition_key), string(sort_key)];
            let Some(found) = table.indexes.iter().find(|one| one.name == index) else {
                return fail(
                    check,
                    format!("{name} lacks the index {index}"),
                    format!(
                        "aws dynamodb update-table --table-name {name} --attribute-definitions \
                         AttributeName={partition_key},AttributeType=S AttributeName={sort_key},AttributeType=S \
                         --global-secondary-index-updates '[{{\"Create\":{{\"IndexName\":\"{index}\",\"KeySchema\":\
                         [{{\"AttributeName\":\"{partition_key}\",\"KeyType\":\"HASH\"}},{{\"AttributeName\":\
                         \"{sort_key}\",\"KeyType\":\"RANGE\"}}],\"Projection\":{{\"ProjectionType\":\"KEYS_ONLY\"}}}}}}]'"
                    ),
                );
            };
            if found.keys != wanted {
                return fail(
                    check,
                    format!("the keys of {name}'s index {index} are {}", keys(&found.keys)),
                    format!("delete the index, and make it again with the keys {}", keys(&wanted)),
                );
            }
            if found.status != "ACTIVE" {
                let found = format!("{name}'s index {index} is {}", found.status.to_lowercase());
                return warn(check, found, "wait until it is active, and run doctor again");
            }
        }
        ok(check, format!("{name} has the keys and the {} indexes of a ledger", INDEXES.len()))
    }

    pub(super) fn table_protection(&self) -> Finding {
        let check = Check::TableProtection;
        match (&self.table, self.function.table()) {
            (Ok(table), _) if table.protected => ok(check, "it cannot be deleted by mistake"),
            (Ok(_), Ok(name)) => warn(
                check,
                "no deletion protection",
                format!("aws dynamodb update-table --table-name {name} --deletion-protection-enabled"),
            ),
            (Err(Unavailable::Absent), _) => unknown(check, "there is no table", "fix that first"),
            (Err(gap), _) => unanswered(check, gap),
            (_, Err(gap)) => unanswered(check, &gap),
        }
    }

    pub(super) fn table_recovery(&self) -> Finding {
        let check = Check::TableRecovery;
        match (&self.recovery, self.function.table()) {
            (Ok(true), _) => ok(check, "it can be restored to any point in time"),
            (Ok(false), Ok(name)) => warn(
                check,
                "no point-in-time recovery",
                format!(
                    "aws dynamodb update-continuous-backups --table-name {name} \
                     --point-in-time-recovery-specification PointInTimeRecoveryEnabled=true"
                ),
            ),
            (Err(Unavailable::Absent), _) => unknown(check, "there is no table", "fix that first"),
            (Err(gap), _) => unanswered(check, gap),
            (_, Err(gap)) => unanswered(check, &gap),
        }
    }
}

fn keys(keys: &[(String, String)]) -> String {
    let keys: Vec<_> = keys.iter().map(|(name, kind)| format!("{name} ({kind})")).collect();
    if keys.is_empty() { "none".to_owned() } else { keys.join(", ") }
}
