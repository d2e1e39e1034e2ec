//! What is asked of etcd, in the JSON form of its interface (version 3): leases, and one key.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use hyper::StatusCode;
use rustls::ClientConfig;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::error::WitnessError;
use super::http::{Connection, within};
use crate::config::Url;

/// An etcd, whose members are tried in turn.
pub(super) struct Etcd {
    urls: Vec<Url>,
    tls: Option<Arc<ClientConfig>>,
    limit: Duration,
    current: usize,
    connection: Option<Connection>,
}

/// What a lease is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LeaseId(i64);

/// What a key is attached to, and what stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) lease: LeaseId,
    pub(super) revision: i64,
    pub(super) value: Vec<u8>,
}

/// What has to be true of the key.
#[derive(Clone, Copy, Debug)]
pub(super) enum If {
    /// It is not there.
    Absent,
    /// It is attached to this lease.
    Attached(LeaseId),
    /// It was not changed since.
    Unchanged(i64),
}

impl Etcd {
    /// `limit` is for each request to each member.
    pub(super) fn new(urls: Vec<Url>, tls: Option<Arc<ClientConfig>>, limit: Duration) -> Self {
        Self { urls, tls, limit, current: 0, connection: None }
    }

    /// The member in use.
    pub(super) fn current(&self) -> Option<Url> {
        self.urls.get(self.current).copied()
    }

    /// Gets a lease that nothing is attached to. It may be longer or shorter than wanted.
    pub(super) async fn grant(&mut self, ttl: Duration) -> Result<(LeaseId, Duration), WitnessError> {
        let answer: Granted = self.ask("/v3/lease/grant", &json!({ "TTL": seconds(ttl) })).await?;
        Ok((LeaseId(answer.id), Duration::from_secs(answer.ttl)))
    }

    /// Has it begin anew. `None`: it is gone.
    pub(super) async fn keep_alive(&mut self, lease: LeaseId) -> Result<Option<Duration>, WitnessError> {
        let answer: Kept = self.ask("/v3/lease/keepalive", &json!({ "ID": lease.0.to_string() })).await?;
        Ok(Some(answer.result.ttl).filter(|ttl| *ttl > 0).map(Duration::from_secs))
    }

    /// Ends it, and with it what is attached to it.
    pub(super) async fn revoke(&mut self, lease: LeaseId) -> Result<(), WitnessError> {
        // That it is gone already is as good.
        let path = "/v3/lease/revoke";
        self.ask_of(path, &json!({ "ID": lease.0.to_string() }), &[StatusCode::NOT_FOUND]).await.map(drop)
    }

    /// What stands at the key.
    pub(super) async fn look(&mut self, key: &str) -> Result<Option<Entry>, WitnessError> {
        let range: Range = self.ask("/v3/kv/range", &json!({ "key": BASE64.encode(key) })).await?;
        Ok(range.entry())
    }

    /// If that is so, puts `value` there, attached to the lease; without a value, leaves it as it is. Returns what is there
    /// if it is not so. `Ok(Err(None))`: nothing is there, or the lease is gone.
    pub(super) async fn put_if(
        &mut self,
        condition: If,
        key: &str,
        value: Option<&[u8]>,
        lease: LeaseId,
    ) -> Result<Result<(), Option<Entry>>, WitnessError> {
        let key = BASE64.encode(key);
        let compare = match condition {
            If::Absent => json!({ "target": "CREATE", "key": key, "createRevision": "0" }),
            If::Attached(lease) => json!({ "target": "LEASE", "key": key, "lease": lease.0.to_string() }),
            If::Unchanged(at) => json!({ "target": "MOD", "key": key, "modRevision": at.to_string() }),
        };
        let put = value.map(|value| {
            let (value, lease) = (BASE64.encode(value), lease.0.to_string());
            json!({ "requestPut": { "key": key, "value": value, "lease": lease } })
        });
        let success: Vec<Value> = put.into_iter().collect();
        let failure = json!([{ "requestRange": { "key": key } }]);
        let request = json!({ "compare": [compare], "success": success, "failure": failure });
        let answer = self.ask_of("/v3/kv/txn", &request, &[StatusCode::NOT_FOUND]).await?;
        let Some(body) = answer else { return Ok(Err(None)) };
        let done: Done = self.understand(&body)?;
        if done.succeeded {
            return Ok(Ok(()));
        }
        Ok(Err(done.responses.into_iter().find_map(|response| response.range?.entry())))
    }

    async fn ask<T: DeserializeOwned>(
        &mut self,
        path: &str,
        request: &impl Serialize,
    ) -> Result<T, WitnessError> {
        let body = self.ask_of(path, request, &[]).await?.unwrap_or_default();
        self.understand(&body)
    }

    /// Asks one member after the other until one answers. `None`: with one of the `other` statuses.
    async fn ask_of(
        &mut self,
        path: &str,
        request: &impl Serialize,
        other: &[StatusCode],
    ) -> Result<Option<Bytes>, WitnessError> {
        let mut tried = 0;
        loop {
            let error = match self.attempt(path, request).await {
                Ok((status, body)) if status.is_success() => return Ok(Some(body)),
                Ok((status, _)) if other.contains(&status) => return Ok(None),
                Ok((status, body)) => self.refusal(status, &body),
                Err(error) => error,
            };
            self.connection = None;
            self.current = (self.current + 1) % self.urls.len().max(1);
            tried += 1;
            if tried >= self.urls.len() {
                return Err(error);
            }
        }
    }

    async fn attempt(
        &mut self,
        path: &str,
        request: &impl Serialize,
    ) -> Result<(StatusCode, Bytes), WitnessError> {
        let url = self.url();
        let json = serde_json::to_vec(request)
            .map_err(|error| WitnessError::NotEtcd { url, what: error.to_string() })?;
        let (tls, kept) = (self.tls.clone(), self.connection.take().filter(|it| !it.is_closed()));
        within(url, self.limit, async {
            let mut connection = match kept {
                Some(connection) => connection,
                None => Connection::open(url, tls.as_ref()).await?,
            };
            let answer = connection.post(path, json).await?;
            // Only one that has answered is used again.
            self.connection = Some(connection);
            Ok(answer)
        })
        .await
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> WitnessError {
        let url = self.url();
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                WitnessError::Forbidden { url, status: status.as_u16() }
            }
            _ => {
                let said = serde_json::from_slice::<Refusal>(body).map(|refusal| refusal.error);
                let said = said.unwrap_or_else(|_| String::from_utf8_lossy(body).into_owned());
                let message = said.chars().take(QUOTED).collect();
                WitnessError::Refused { url, status: status.as_u16(), message }
            }
        }
    }

    fn understand<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, WitnessError> {
        serde_json::from_slice(body).map_err(|error| {
            let what = error.to_string().chars().take(QUOTED).collect();
            WitnessError::NotEtcd { url: self.url(), what }
        })
    }

    /// There is at least one.
    fn url(&self) -> Url {
        self.current().unwrap_or(Url { tls: false, address: ([0, 0, 0, 0], 0).into() })
    }
}

/// Etcd counts in whole seconds.
fn seconds(time: Duration) -> String {
    (time.as_secs() + u64::from(time.subsec_nanos() > 0)).to_string()
}

#[derive(Deserialize)]
struct Granted {
    #[serde(rename = "ID", deserialize_with = "number")]
    id: i64,
    #[serde(rename = "TTL", deserialize_with = "number")]
    ttl: u64,
}

#[derive(Deserialize)]
struct Kept {
    result: KeptLease,
}

#[derive(Deserialize)]
struct KeptLease {
    /// What is zero is left out.
    #[serde(rename = "TTL", default, deserialize_with = "number")]
    ttl: u64,
}

#[derive(Deserialize)]
struct Done {
    #[serde(default)]
    succeeded: bool,
    #[serde(default)]
    responses: Vec<Response>,
}

#[derive(Deserialize)]
struct Response {
    #[serde(rename = "response_range", alias = "responseRange")]
    range: Option<Range>,
}

#[derive(Deserialize)]
struct Range {
    #[serde(default)]
    kvs: Vec<KeyValue>,
}

#[derive(Deserialize)]
struct KeyValue {
    #[serde(alias = "modRevision", deserialize_with = "number")]
    mod_revision: i64,
    #[serde(default, deserialize_with = "number")]
    lease: i64,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(alias = "message")]
    error: String,
}

impl Range {
    fn entry(self) -> Option<Entry> {
        self.kvs.into_iter().next().map(|KeyValue { mod_revision, lease, value }| Entry {
            lease: LeaseId(lease),
            revision: mod_revision,
            // Nothing of ours; shown as such.
            value: BASE64.decode(value).unwrap_or_default(),
        })
    }
}

/// Numbers of 64 bits are written as strings.
fn number<'de, D: Deserializer<'de>, N: std::str::FromStr>(from: D) -> Result<N, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Text(String),
        Number(i64),
    }
    let text = match Written::deserialize(from)? {
        Written::Text(text) => text,
        Written::Number(number) => number.to_string(),
    };
    text.parse().map_err(|_| D::Error::custom("a number was expected"))
}

/// Characters that are shown of what it says.
const QUOTED: usize = 200;
