//! IAM and STS over HTTP: users, their service-specific credentials, and the facts about them that the
//! guard relies on. The account is told by the access key; `AssumeRole` hands out one for another account.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use aws_sdk_iam::config::{Credentials, Region};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::http::{Reply, Request, serve};
use super::{Fault, Faults, OWN};

/// The secret of every key that is created here.
pub const SECRET: &str = "ABSKQmVkcm9ja0FQSUtleS1leGFtcGxlOnNlY3JldA==";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKey {
    pub account: String,
    pub id: String,
    pub user: String,
    pub service: String,
    pub created: DateTime<Utc>,
    pub expires: Option<DateTime<Utc>>,
    pub status: &'static str,
    /// How many more lists lag behind and do not have it.
    pub hidden: u32,
    /// A field that its listings lack.
    pub lacks: Option<&'static str>,
}

/// A call that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub account: String,
    pub action: String,
    pub parameters: HashMap<String, String>,
}

#[derive(Default)]
struct State {
    users: BTreeSet<(String, String)>,
    keys: Vec<StoredKey>,
    calls: Vec<Call>,
    warmed: usize,
    made: usize,
    /// Policies and access keys, by user.
    policies: Vec<(String, String)>,
    access_keys: Vec<(String, String)>,
    /// Accounts that deny everything.
    denied: BTreeSet<String>,
    /// The most keys that a list answers at once, and how long it takes.
    page: Option<(usize, std::time::Duration)>,
    /// Lists never end: these markers come one after the other, then from the beginning.
    endless: Option<&'static [&'static str]>,
    /// A field that responses to creations lack.
    created_lack: Option<&'static str>,
    /// Services without credentials, and the code that says so.
    unsupported: HashMap<&'static str, &'static str>,
}

#[derive(Clone)]
pub struct Iam {
    url: String,
    state: Arc<Mutex<State>>,
    faults: Arc<Faults>,
}

impl Iam {
    pub fn start() -> Self {
        let state: Arc<Mutex<State>> = Arc::default();
        let faults: Arc<Faults> = Arc::default();
        let url = {
            let (state, faults) = (Arc::clone(&state), Arc::clone(&faults));
            serve(move |request| answer(&request, &state, &faults))
        };
        Self { url, state, faults }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn fault(&self, action: &str, fault: Fault, times: usize) {
        self.faults.expect(action, fault, times);
    }

    /// From now on nothing goes wrong.
    pub fn forget_faults(&self) {
        self.faults.forget();
    }

    pub fn add_user(&self, account: &str, user: &str) {
        self.state.lock().unwrap().users.insert((account.to_owned(), user.to_owned()));
    }

    /// A key as it is, with its user.
    pub fn put_key(&self, key: StoredKey) {
        self.add_user(&key.account, &key.user);
        self.state.lock().unwrap().keys.push(key);
    }

    /// An active Bedrock key, `age` days long.
    pub fn put(&self, id: &str, user: &str, created: DateTime<Utc>, age: Option<i64>) {
        self.put_in(OWN, id, user, created, age);
    }

    fn put_in(&self, account: &str, id: &str, user: &str, created: DateTime<Utc>, age: Option<i64>) {
        self.put_key(StoredKey {
            account: account.to_owned(),
            id: id.to_owned(),
            user: user.to_owned(),
            service: "bedrock.amazonaws.com".to_owned(),
            created,
            expires: age.map(|days| created + TimeDelta::days(days)),
            status: "Active",
            hidden: 0,
            lacks: None,
        });
    }

    /// The key that a creation event is about, `age` days long. Returns its id, if the event has one.
    pub fn put_created(&self, event: &Value, age: Option<i64>) -> Option<String> {
        let detail = &event["detail"];
        let credential = &detail["responseElements"]["serviceSpecificCredential"];
        let id = credential["serviceSpecificCredentialId"].as_str()?;
        let account = detail["recipientAccountId"].as_str().unwrap();
        let created = detail["eventTime"].as_str().unwrap().parse().unwrap();
        self.put_in(account, id, credential["userName"].as_str()?, created, age);
        Some(id.to_owned())
    }

    /// Attaches a policy to a user.
    pub fn attach(&self, user: &str, arn: &str) {
        self.state.lock().unwrap().policies.push((user.to_owned(), arn.to_owned()));
    }

    pub fn add_access_key(&self, user: &str, id: &str) {
        self.state.lock().unwrap().access_keys.push((user.to_owned(), id.to_owned()));
    }

    /// Responses to creations lack this field from now on.
    pub fn create_without(&self, field: &'static str) {
        self.state.lock().unwrap().created_lack = Some(field);
    }

    /// The users of an account.
    pub fn users(&self, account: &str) -> Vec<String> {
        let users = &self.state.lock().unwrap().users;
        users.iter().filter(|(of, _)| of == account).map(|(_, user)| user.clone()).collect()
    }

    /// A key is deleted behind everybody's back.
    pub fn remove(&self, id: &str) {
        self.state.lock().unwrap().keys.retain(|key| key.id != id);
    }

    /// Lists answer so many keys at once, and take so long.
    pub fn page(&self, keys: usize, takes: std::time::Duration) {
        self.state.lock().unwrap().page = Some((keys, takes));
    }

    /// Every list returns its first page again and again, with these markers in turn. None: it is truncated without one.
    pub fn never_end(&self, markers: &'static [&'static str]) {
        self.state.lock().unwrap().endless = Some(markers);
    }

    /// From now on lists of this service's credentials are refused with this code.
    pub fn does_not_support(&self, service: &'static str, code: &'static str) {
        self.state.lock().unwrap().unsupported.insert(service, code);
    }

    /// From now on an account denies every call.
    pub fn deny(&self, account: &str) {
        self.state.lock().unwrap().denied.insert(account.to_owned());
    }

    /// Renaming keeps the credentials.
    pub fn rename_user(&self, account: &str, from: &str, to: &str) {
        let mut state = self.state.lock().unwrap();
        state.users.remove(&(account.to_owned(), from.to_owned()));
        state.users.insert((account.to_owned(), to.to_owned()));
        for key in &mut state.keys {
            if key.account == account && key.user == from {
                to.clone_into(&mut key.user);
            }
        }
    }

    /// Changes a key behind everybody's back.
    pub fn change(&self, id: &str, change: impl FnOnce(&mut StoredKey)) {
        change(self.state.lock().unwrap().keys.iter_mut().find(|key| key.id == id).unwrap());
    }

    pub fn keys(&self) -> Vec<StoredKey> {
        self.state.lock().unwrap().keys.clone()
    }

    pub fn key(&self, id: &str) -> Option<StoredKey> {
        self.keys().into_iter().find(|key| key.id == id)
    }

    pub fn calls(&self) -> Vec<Call> {
        self.state.lock().unwrap().calls.clone()
    }

    pub fn actions(&self) -> Vec<String> {
        self.calls().into_iter().map(|call| call.action).collect()
    }

    /// How many connections were opened ahead.
    pub fn warmed(&self) -> usize {
        self.state.lock().unwrap().warmed
    }

    /// A configuration as in production, with IAM and STS here.
    pub async fn sdk(&self) -> aws_config::SdkConfig {
        bedrock_key_guard::aws::sdk_config()
            .await
            .into_builder()
            .region(Region::from_static("us-east-1"))
            .credentials_provider(aws_sdk_iam::config::SharedCredentialsProvider::new(Credentials::new(
                "AKIAEXAMPLE",
                "secret",
                None,
                None,
                "test",
            )))
            .endpoint_url(&self.url)
            .build()
    }
}

fn answer(request: &Request, state: &Mutex<State>, faults: &Faults) -> Reply {
    if request.method == "GET" {
        assert!(!request.headers.contains_key("authorization"), "a warming request is unsigned");
        state.lock().unwrap().warmed += 1;
        return Reply::answer(302, "");
    }
    let parameters: HashMap<_, _> = String::from_utf8(request.body.clone())
        .unwrap()
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), decode(value)))
        .collect();
    let action = parameters["Action"].clone();
    let call = Call { account: account(request), action: action.clone(), parameters };
    state.lock().unwrap().calls.push(call.clone());
    let takes = state.lock().unwrap().page.map(|(_, takes)| takes);
    if let Some(takes) = takes.filter(|_| action.starts_with("List")) {
        std::thread::sleep(takes);
    }
    faults.pass(&action, refuse, || match act(&call, &mut state.lock().unwrap()) {
        Ok(result) => Reply::answer(
            200,
            format!("<{action}Response><{action}Result>{result}</{action}Result></{action}Response>"),
        ),
        Err((status, code)) => refuse(status, code),
    })
}

/// Signed with a key of `AssumeRole`: `ASIA<account>`; with any other: the own account.
pub(super) fn account(request: &Request) -> String {
    let signed = request.headers["authorization"].split("Credential=").nth(1).unwrap();
    let key = signed.split('/').next().unwrap();
    key.strip_prefix("ASIA").unwrap_or(OWN).to_owned()
}

pub fn decode(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let hex = [bytes.next().unwrap(), bytes.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap()
            }
            other => other,
        });
    }
    String::from_utf8(decoded).unwrap()
}

fn refuse(status: u16, code: &str) -> Reply {
    Reply::answer(
        status,
        format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>on demand</Message></Error><RequestId>r</RequestId></ErrorResponse>"
        ),
    )
}

const NO_SUCH_ENTITY: (u16, &str) = (404, "NoSuchEntity");
const INVALID: (u16, &str) = (400, "ValidationError");

fn act(call: &Call, state: &mut State) -> Result<String, (u16, &'static str)> {
    let parameter = |name: &str| call.parameters.get(name).map(String::as_str);
    if state.denied.contains(&call.account) {
        return Err((403, "AccessDenied"));
    }
    match call.action.as_str() {
        "ListAttachedUserPolicies" | "ListAccessKeys" => left(call, state),
        "AssumeRole" => {
            let account = parameter("RoleArn").unwrap().split(':').nth(4).unwrap();
            Ok(format!(
                "<Credentials><AccessKeyId>ASIA{account}</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>2100-01-01T00:00:00Z</Expiration></Credentials>"
            ))
        }
        "GetCallerIdentity" => {
            Ok(format!("<Arn>arn:aws:iam::{OWN}:user/operator</Arn><Account>{OWN}</Account>"))
        }
        "CreateUser" | "DeleteUser" => user(call, state),
        "ListServiceSpecificCredentials" => list(call, state),
        "CreateServiceSpecificCredential" => create(call, state),
        "UpdateServiceSpecificCredential" => {
            let status = match parameter("Status") {
                Some("Active") => "Active",
                Some("Inactive") => "Inactive",
                _ => return Err(INVALID),
            };
            let at = named(call, state)?;
            state.keys[at].status = status;
            Ok(String::new())
        }
        "ResetServiceSpecificCredential" => {
            let at = named(call, state)?;
            Ok(format!(
                "<ServiceSpecificCredential>{}</ServiceSpecificCredential>",
                describe(&state.keys[at])
            ))
        }
        "DeleteServiceSpecificCredential" => {
            let at = named(call, state)?;
            state.keys.remove(at);
            Ok(String::new())
        }
        other => panic!("{other} is not served"),
    }
}

/// A user is created, or deleted if it has no key.
fn user(call: &Call, state: &mut State) -> Result<String, (u16, &'static str)> {
    let name = &call.parameters["UserName"];
    let user = (call.account.clone(), name.clone());
    if call.action == "CreateUser" {
        if !state.users.insert(user) {
            return Err((409, "EntityAlreadyExists"));
        }
        let path = &call.parameters["Path"];
        let arn = format!("arn:aws:iam::{}:user{path}{name}", call.account);
        return Ok(format!(
            "<User><Path>{path}</Path><UserName>{name}</UserName><UserId>AIDAEXAMPLE</UserId><Arn>{arn}</Arn>\
             <CreateDate>2026-11-20T09:00:00Z</CreateDate></User>"
        ));
    }
    if !state.users.contains(&user) {
        return Err(NO_SUCH_ENTITY);
    }
    if state.keys.iter().any(|key| key.account == user.0 && key.user == user.1) {
        return Err((409, "DeleteConflict"));
    }
    state.users.remove(&user);
    Ok(String::new())
}

/// What a user has beside credentials of services.
fn left(call: &Call, state: &State) -> Result<String, (u16, &'static str)> {
    let user = &call.parameters["UserName"];
    if !state.users.contains(&(call.account.clone(), user.clone())) {
        return Err(NO_SUCH_ENTITY);
    }
    let of = |list: &[(String, String)], describe: &dyn Fn(&String) -> String| -> String {
        list.iter().filter(|(owner, _)| owner == user).map(|(_, what)| describe(what)).collect()
    };
    Ok(if call.action == "ListAccessKeys" {
        let keys = of(&state.access_keys, &|id| {
            format!(
                "<member><UserName>{user}</UserName><AccessKeyId>{id}</AccessKeyId><Status>Active</Status></member>"
            )
        });
        format!("<AccessKeyMetadata>{keys}</AccessKeyMetadata><IsTruncated>false</IsTruncated>")
    } else {
        let policies = of(&state.policies, &|arn| {
            let name = arn.rsplit('/').next().unwrap();
            format!("<member><PolicyName>{name}</PolicyName><PolicyArn>{arn}</PolicyArn></member>")
        });
        format!("<AttachedPolicies>{policies}</AttachedPolicies><IsTruncated>false</IsTruncated>")
    })
}

/// The key that a call names, if it is that user's.
fn named(call: &Call, state: &State) -> Result<usize, (u16, &'static str)> {
    let user = call.parameters.get("UserName").expect("UserName defaults to the caller: always pass it");
    let id = &call.parameters["ServiceSpecificCredentialId"];
    if !state.users.contains(&(call.account.clone(), user.clone())) {
        return Err(NO_SUCH_ENTITY);
    }
    let at = state.keys.iter().position(|key| key.account == call.account && key.id == *id);
    let at = at.ok_or(NO_SUCH_ENTITY)?;
    if state.keys[at].user.eq_ignore_ascii_case(user) { Ok(at) } else { Err(INVALID) }
}

fn list(call: &Call, state: &mut State) -> Result<String, (u16, &'static str)> {
    let parameter = |name: &str| call.parameters.get(name);
    let all = parameter("AllUsers").is_some_and(|all| all == "true");
    let user = parameter("UserName");
    if all == user.is_some() {
        return Err(INVALID);
    }
    if let Some(user) = user
        && !state.users.contains(&(call.account.clone(), user.clone()))
    {
        return Err(NO_SUCH_ENTITY);
    }
    if let Some(code) = parameter("ServiceName").and_then(|name| state.unsupported.get(name.as_str())) {
        return Err((404, *code));
    }
    let mut listed = Vec::new();
    for key in &mut state.keys {
        let wanted = key.account == call.account
            && user.is_none_or(|user| key.user == *user)
            && parameter("ServiceName").is_none_or(|name| key.service.eq_ignore_ascii_case(name));
        if wanted && key.hidden > 0 {
            key.hidden -= 1;
        } else if wanted {
            listed.push(&*key);
        }
    }
    let marker = parameter("Marker").filter(|_| state.endless.is_none());
    let from: usize = marker.map_or(0, |marker| marker.parse().unwrap());
    let size: usize = parameter("MaxItems").map_or(100, |items| items.parse().unwrap());
    let size = state.page.map_or(size, |(most, _)| size.min(most));
    let until = (from + size).min(listed.len());
    let members: Vec<_> =
        listed[from..until].iter().map(|key| format!("<member>{}</member>", describe(key))).collect();
    let more = if let Some(markers) = state.endless {
        let at = markers.iter().position(|marker| parameter("Marker").is_some_and(|last| last == marker));
        let next = markers.get(at.map_or(0, |at| (at + 1) % markers.len()));
        let marker = next.map(|marker| format!("<Marker>{marker}</Marker>")).unwrap_or_default();
        format!("<IsTruncated>true</IsTruncated>{marker}")
    } else if until < listed.len() {
        format!("<IsTruncated>true</IsTruncated><Marker>{until}</Marker>")
    } else {
        "<IsTruncated>false</IsTruncated>".to_owned()
    };
    Ok(format!("<ServiceSpecificCredentials>{}</ServiceSpecificCredentials>{more}", members.concat()))
}

fn create(call: &Call, state: &mut State) -> Result<String, (u16, &'static str)> {
    let (user, service) = (&call.parameters["UserName"], call.parameters["ServiceName"].to_lowercase());
    if !state.users.contains(&(call.account.clone(), user.clone())) {
        return Err(NO_SUCH_ENTITY);
    }
    let of_this_kind = |key: &&StoredKey| key.user == *user && key.service == service;
    if state.keys.iter().filter(of_this_kind).count() == 2 {
        return Err((409, "LimitExceeded"));
    }
    let age = match call.parameters.get("CredentialAgeDays").map(|days| days.parse()) {
        None => None,
        Some(Ok(days @ 1..=36_600)) => Some(TimeDelta::days(days)),
        Some(_) => return Err(INVALID),
    };
    state.made += 1;
    let created: DateTime<Utc> = "2026-11-20T09:00:00Z".parse().unwrap();
    let key = StoredKey {
        account: call.account.clone(),
        id: format!("ACCAMADE{:013}", state.made),
        user: user.clone(),
        service,
        created,
        expires: age.map(|age| created + age),
        status: "Active",
        hidden: 0,
        lacks: None,
    };
    let described = describe(&StoredKey { lacks: state.created_lack, ..key.clone() });
    state.keys.push(key);
    Ok(format!(
        "<ServiceSpecificCredential>{described}<ServicePassword>{SECRET}</ServicePassword>\
         <ServiceCredentialSecret>{SECRET}</ServiceCredentialSecret></ServiceSpecificCredential>"
    ))
}

fn describe(key: &StoredKey) -> String {
    let time = |time: DateTime<Utc>| time.format("%Y-%m-%dT%H:%M:%SZ").to_string();
    [
        ("UserName", Some(key.user.clone())),
        ("Status", Some(key.status.to_owned())),
        ("ServiceUserName", Some(format!("{}-at-{}", key.user, key.account))),
        ("CreateDate", Some(time(key.created))),
        ("ExpirationDate", key.expires.map(time)),
        ("ServiceSpecificCredentialId", Some(key.id.clone())),
        ("ServiceName", Some(key.service.clone())),
    ]
    .into_iter()
    .filter(|(name, _)| Some(*name) != key.lacks)
    .filter_map(|(name, value)| Some(format!("<{name}>{}</{name}>", value?)))
    .collect()
}
