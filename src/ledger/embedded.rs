//! A DynamoDB inside the process, for laptops and tests.
//!
//! [`dynoxide`] answers the requests of `aws-sdk-dynamodb` where its HTTP client would be: no port is
//! opened, nothing leaves the process, and the ledger's own code does not know the difference.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Region, RuntimeComponents, StalledStreamProtectionConfig};
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::operation::describe_table::DescribeTableError;
use aws_sdk_dynamodb::types::{KeyType, TableDescription};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::http::StatusCode;
use dynoxide::actions::describe_table::DescribeTableRequest;
use dynoxide::{Database, ImportOptions};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::error::LedgerError;
use super::portable::PortableItem;
use super::store::DynamoKeyStore;
use super::{INDEXES, table_definition};

/// What the file of a ledger begins with (`SQLite`, *Database File Format*).
const SQLITE: &[u8] = b"SQLite format 3\0";

/// The table's name in a ledger file.
pub const TABLE: &str = "key-guard";

/// When a write is safe from a power cut. It is safe from the end of the process either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// When the call returns: needed where keys are touched.
    EveryWrite,
    /// Soon after: enough for a dry run, which can be repeated.
    Soon,
}

/// Opens the ledger file, and makes it and its table at first use.
///
/// # Errors
/// When the file cannot be opened or is something else.
pub async fn open(path: &Path, durability: Durability) -> Result<DynamoKeyStore, LedgerError> {
    if !path.exists() {
        make(path).await?;
    }
    let database = file(path)?;
    if durability == Durability::Soon {
        // Turning bulk loading off leaves SQLite at `synchronous = NORMAL`, which in WAL mode saves the
        // wait for the disk at every commit.
        database
            .enable_bulk_loading()
            .and_then(|()| database.disable_bulk_loading())
            .map_err(|error| unusable(path, error.to_string()))?;
    }
    on(database).await.map_err(|error| of_file(path, error))
}

/// Makes a ledger file, which is there only when it is whole: dynoxide makes a table and its indexes one after
/// another, and another process would find some of them.
async fn make(path: &Path) -> Result<(), LedgerError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let part = new_file().tempfile_in(folder.unwrap_or(Path::new(".")));
    let part = part.map_err(|error| unusable(path, error.to_string()))?.into_temp_path();
    drop(on(file(&part)?).await?);
    // Closed, it is whole in one file. Otherwise it is made in its place.
    let mut log = part.as_os_str().to_owned();
    log.push("-wal");
    if std::fs::metadata(log).is_ok_and(|log| log.len() > 0) {
        return Ok(());
    }
    match part.persist_noclobber(path) {
        // Another process may have been quicker.
        Ok(()) => Ok(()),
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(unusable(path, error.error.to_string())),
    }
}

/// A file under a name of its own, to be renamed: as readable as any new file, not only for its owner.
#[must_use]
pub fn new_file() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder
}

/// Fills a new ledger file, thousands of items a write. For measurements: what has the same keys is overwritten.
///
/// # Errors
/// When the file is there already, or cannot be written.
pub async fn load(path: &Path, items: impl IntoIterator<Item = PortableItem>) -> Result<u64, LedgerError> {
    const AT_ONCE: usize = 8_000;
    let failed = |why: String| unusable(path, why);
    if path.exists() {
        return Err(failed("it is there already".to_owned()));
    }
    let database = file(path)?;
    on(database.clone()).await?;
    database.enable_bulk_loading().map_err(|error| failed(error.to_string()))?;
    let (mut portable, mut loaded) = (items.into_iter(), 0);
    loop {
        let items =
            portable.by_ref().take(AT_ONCE).map(|item| serde_json::from_value(item.to_dynamodb_json()?));
        let items = items.collect::<Result<Vec<_>, _>>().map_err(|error| failed(error.to_string()))?;
        if items.is_empty() {
            break;
        }
        let done = database.import_items(TABLE, items, ImportOptions::default());
        loaded += done.map_err(|error| failed(error.to_string()))?.items_imported as u64;
    }
    database.disable_bulk_loading().map_err(|error| failed(error.to_string()))?;
    Ok(loaded)
}

/// Opens a ledger file to read it. One that is not there is not made.
///
/// # Errors
/// When there is no such file, or it is something else.
pub async fn open_existing(path: &Path) -> Result<DynamoKeyStore, LedgerError> {
    if !path.exists() {
        return Err(unusable(path, "there is no such file; replay and import make one".to_owned()));
    }
    let ledger = reading(file(path)?);
    if ledger.has_table().await.map_err(|error| of_file(path, error))? {
        Ok(ledger)
    } else {
        Err(unusable(path, "it is a database without a ledger in it; replay and import make one".to_owned()))
    }
}

/// A table of another kind, by the name of its file.
fn of_file(path: &Path, error: LedgerError) -> LedgerError {
    match error {
        LedgerError::IndexMissing { message, .. } => unusable(
            path,
            format!("it is a ledger of an earlier version ({message}); replay or import into a new file"),
        ),
        LedgerError::Schema { .. } => unusable(path, error.to_string()),
        other @ (LedgerError::TableMissing { .. }
        | LedgerError::Unreadable { .. }
        | LedgerError::Busy { .. }
        | LedgerError::Call { .. }
        | LedgerError::Denied { .. }
        | LedgerError::File { .. }) => other,
    }
}

fn unusable(path: &Path, why: String) -> LedgerError {
    LedgerError::File { path: path.display().to_string(), why }
}

fn file(path: &Path) -> Result<Database, LedgerError> {
    let unusable = |why: String| unusable(path, why);
    if path.is_dir() {
        return Err(unusable("it is a directory".to_owned()));
    }
    // An empty file is a database to be, for SQLite.
    let mut head = Vec::new();
    let begun = File::open(path).and_then(|file| file.take(SQLITE.len() as u64).read_to_end(&mut head));
    if begun.is_ok_and(|length| length > 0) && head != SQLITE {
        return Err(unusable("it is no ledger file, which is a SQLite database".to_owned()));
    }
    if is_of_another_program(path) {
        return Err(unusable("it is a database of another program".to_owned()));
    }
    // SQLite takes some names for something else than a file: `:memory:`, `file:…?mode=memory`. None of them is
    // an absolute path.
    let path = std::path::absolute(path).map_err(|error| unusable(error.to_string()))?;
    let text = path.to_str().ok_or_else(|| unusable("its name is not UTF-8".to_owned()))?;
    Database::new(text).map_err(|error| {
        let why = error.to_string();
        let advice = if why.contains("readonly database") {
            "; a ledger is opened for writing, even to look things up: copy it to where you may write"
        } else {
            ""
        };
        unusable(format!("{why}{advice}"))
    })
}

/// Whether a database has tables and none of them is dynoxide's, which would add its own.
fn is_of_another_program(path: &Path) -> bool {
    use rusqlite::{Connection, OpenFlags};
    let count = |connection: Connection| {
        let ask =
            "SELECT count(*), coalesce(sum(name = '_tables'), 0) FROM sqlite_schema WHERE type = 'table'";
        connection.query_row(ask, [], |row| Ok((row.get::<_, u32>(0)?, row.get::<_, u32>(1)?)))
    };
    let opened = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY);
    matches!(opened.and_then(count), Ok((1.., 0)))
}

/// A ledger in memory.
///
/// # Errors
/// When the embedded database does not start.
pub async fn in_memory() -> Result<DynamoKeyStore, LedgerError> {
    let database = Database::memory()
        .map_err(|error| LedgerError::File { path: "(in memory)".to_owned(), why: error.to_string() })?;
    on(database).await
}

/// A ledger on a database that is there already, with its table made if need be.
///
/// # Errors
/// When the table is there with another key schema, or cannot be made.
pub async fn on(database: Database) -> Result<DynamoKeyStore, LedgerError> {
    let ledger = reading(database);
    ledger.make_table().await?;
    Ok(ledger)
}

fn reading(database: Database) -> DynamoKeyStore {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::from_static("us-east-1"))
        .endpoint_url("http://embedded.invalid")
        // Nobody is there to check a signature, or to let a stream stall.
        .allow_no_auth()
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .retry_config(aws_config::retry::RetryConfig::disabled())
        .http_client(Embedded(database))
        .build();
    DynamoKeyStore::new(Client::from_conf(config), TABLE)
}

impl DynamoKeyStore {
    /// Whether the table is there.
    ///
    /// # Errors
    /// When it is there with another key schema, or without one of the indexes.
    async fn has_table(&self) -> Result<bool, LedgerError> {
        match self.client.describe_table().table_name(&self.table).send().await {
            Ok(described) => {
                let keys = described.table().map(TableDescription::key_schema).unwrap_or_default();
                let is = |name: &str, key_type: &KeyType| {
                    keys.iter().any(|key| key.attribute_name() == name && key.key_type() == key_type)
                };
                let indexes =
                    described.table().map(TableDescription::global_secondary_indexes).unwrap_or_default();
                let has = |name: &str| indexes.iter().any(|index| index.index_name() == Some(name));
                if keys.len() == 2 && is("pk", &KeyType::Hash) && is("sk", &KeyType::Range) {
                    return match INDEXES.iter().find(|(name, _)| !has(name)) {
                        None => Ok(true),
                        Some((name, _)) => Err(LedgerError::IndexMissing {
                            table: self.table.clone(),
                            message: format!("there is no {name}"),
                        }),
                    };
                }
                Err(LedgerError::Schema {
                    table: self.table.clone(),
                    message: "its keys are others".to_owned(),
                })
            }
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(DescribeTableError::is_resource_not_found_exception) =>
            {
                Ok(false)
            }
            Err(error) => Err(self.failure("DescribeTable", error).ledger_error()),
        }
    }

    /// Makes the table unless it is there.
    ///
    /// # Errors
    /// When it is there and is no ledger of this version, or cannot be made.
    pub async fn make_table(&self) -> Result<(), LedgerError> {
        if self.has_table().await? {
            return Ok(());
        }
        let definition =
            table_definition(&self.client, &self.table).map_err(|error| self.not_built(error))?;
        match definition.send().await {
            Ok(_) => Ok(()),
            // Another process was quicker.
            Err(error)
                if error.as_service_error().is_some_and(CreateTableError::is_resource_in_use_exception) =>
            {
                Ok(())
            }
            Err(error) => Err(self.failure("CreateTable", error).ledger_error()),
        }
    }
}

#[derive(Clone)]
struct Embedded(Database);

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Embedded")
    }
}

impl HttpClient for Embedded {
    fn http_connector(
        &self,
        _settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Embedded {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::ready(self.answer(&request))
    }
}

impl Embedded {
    fn answer(&self, request: &HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let refused = |what: &str| ConnectorError::user(format!("embedded DynamoDB: {what}").into());
        let body = request.body().bytes().ok_or_else(|| refused("the request's body is a stream"))?;
        let (database, operation) = (&self.0, request.headers().get("x-amz-target").unwrap_or_default());
        let answer = match operation.strip_prefix("DynamoDB_20120810.").unwrap_or_default() {
            "TransactWriteItems" => run(body, |request| database.transact_write_items(request)),
            "GetItem" => run(body, |request| database.get_item(request)),
            "Query" => run(body, |request| database.query(request)),
            "BatchGetItem" => run(body, |request| database.batch_get_item(request)),
            "Scan" => run(body, |request| database.scan(request)),
            "DescribeTable" => run(body, |request| describe(database, request)),
            "CreateTable" => run(body, |request| database.create_table(request)),
            _ => return Err(refused(&format!("operation {operation} is not connected"))),
        };
        let (status, body) = answer.map_err(|error| refused(&error.to_string()))?;
        let status = StatusCode::try_from(status).map_err(|error| refused(&error.to_string()))?;
        Ok(HttpResponse::new(status, body.into()))
    }
}

/// A table's schema, which is what is asked here. dynoxide would count all items of it and of its indexes, too.
fn describe(database: &Database, request: DescribeTableRequest) -> dynoxide::Result<Value> {
    let Some(table) = database.get_table_metadata(&request.table_name)? else {
        return database.describe_table(request).map(|_| Value::Null);
    };
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    Ok(json!({"Table": {
        "TableName": table.table_name,
        "KeySchema": read(&table.key_schema),
        "GlobalSecondaryIndexes": table.gsi_definitions.as_deref().map(read),
    }}))
}

fn run<Request: DeserializeOwned, Answer: Serialize>(
    body: &[u8],
    operation: impl FnOnce(Request) -> dynoxide::Result<Answer>,
) -> Result<(u16, String), serde_json::Error> {
    Ok(match operation(serde_json::from_slice(body)?) {
        Ok(answer) => (200, serde_json::to_string(&answer)?),
        Err(error) => (error.status_code(), error.to_json()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every command opens the ledger: that must not take longer the larger it is.
    #[test]
    fn a_table_is_described_without_counting_its_items() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let ledger = in_memory().await.unwrap();
            let described = ledger.client.describe_table().table_name(TABLE).send().await.unwrap();
            let table = described.table().unwrap();
            assert_eq!((table.item_count(), table.table_size_bytes()), (None, None));
            let indexes = table.global_secondary_indexes();
            assert_eq!(indexes.len(), INDEXES.len());
            assert!(indexes.iter().all(|index| index.item_count().is_none()));
            assert!(ledger.has_table().await.unwrap());
        });
    }
}
