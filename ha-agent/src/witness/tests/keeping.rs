//! What the keeper does with one that behaves like etcd, and what it makes of what goes wrong there.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::super::{Holder, Keeper, Lease, Moment, Own, Terms, Wanted, WitnessNow};
use super::fake::{Answer, Fake};
use crate::config::{PeerConfig, Url, WitnessConfig, WitnessKind};
use crate::core::pair::Generation;
use crate::sys::clock;

/// Leases and one key, as far as the keeper needs them; none ends by itself.
#[derive(Default)]
struct Store {
    leases: Vec<i64>,
    granted: i64,
    /// The lease, the revision, the value.
    key: Option<(i64, i64, String)>,
    revision: i64,
    /// Answers to this path get lost, so often.
    loses: (&'static str, u32),
}

impl Store {
    fn answer(&mut self, path: &str, request: &Value) -> Answer {
        let number = |name: &str| request[name].as_str().and_then(|text| text.parse().ok()).unwrap_or(0_i64);
        let answer = match path {
            "/v3/lease/grant" => {
                self.granted += 1;
                let id = 100 + self.granted;
                self.leases.push(id);
                json!({ "ID": id.to_string(), "TTL": request["TTL"] })
            }
            "/v3/lease/keepalive" if self.leases.contains(&number("ID")) => {
                json!({ "result": { "ID": request["ID"], "TTL": "2" } })
            }
            "/v3/lease/keepalive" => json!({ "result": { "ID": request["ID"] } }),
            "/v3/lease/revoke" => {
                self.end(number("ID"));
                json!({})
            }
            "/v3/kv/range" => self.range(),
            "/v3/kv/txn" => self.transact(request),
            _ => return Answer::Status(404, String::new()),
        };
        if self.loses.0 == path && self.loses.1 > 0 {
            self.loses.1 -= 1;
            return Answer::Silence;
        }
        Answer::json(answer.to_string())
    }

    fn end(&mut self, lease: i64) {
        self.leases.retain(|id| *id != lease);
        self.key.take_if(|(attached, ..)| *attached == lease);
    }

    fn range(&self) -> Value {
        let entry = |(lease, revision, value): &(i64, i64, String)| json!({ "mod_revision": revision.to_string(), "lease": lease.to_string(), "value": value });
        json!({ "kvs": self.key.iter().map(entry).collect::<Vec<_>>() })
    }

    fn transact(&mut self, request: &Value) -> Value {
        let compare = &request["compare"][0];
        let is = |name: &str, number: i64| compare[name].as_str() == Some(&number.to_string());
        let holds = match (compare["target"].as_str(), &self.key) {
            (Some("CREATE"), key) => key.is_none(),
            (Some("LEASE"), Some((lease, ..))) => is("lease", *lease),
            (Some("MOD"), Some((_, revision, _))) => is("modRevision", *revision),
            _ => false,
        };
        if !holds {
            return json!({ "responses": [{ "response_range": self.range() }] });
        }
        if let Some(put) = request["success"].get(0).map(|operation| &operation["requestPut"]) {
            let lease = put["lease"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0);
            self.revision += 1;
            self.key = Some((lease, self.revision, put["value"].as_str().unwrap_or_default().to_owned()));
        }
        json!({ "succeeded": true })
    }

    fn value(&self) -> Option<Value> {
        let (_, _, value) = self.key.as_ref()?;
        serde_json::from_slice(&STANDARD.decode(value).ok()?).ok()
    }
}

struct Lab {
    store: Arc<Mutex<Store>>,
    fake: Fake,
}

/// A keeper at work.
struct Node {
    wanted: watch::Sender<Wanted>,
    now: watch::Receiver<WitnessNow>,
    leases: mpsc::UnboundedReceiver<Lease>,
}

impl Lab {
    async fn new() -> Self {
        let store = Arc::new(Mutex::new(Store::default()));
        let answering = Arc::clone(&store);
        let fake = Fake::start(move |path, request| {
            answering.lock().expect("nobody panicked").answer(path, &request)
        });
        Self { fake: fake.await, store }
    }

    fn node(&self, name: &str) -> Node {
        let urls = vec![Url { tls: false, address: self.fake.address }];
        let kind = WitnessKind::Etcd { urls, key: None, tls: None };
        let config = WitnessConfig { kind, lease: Duration::from_secs(2) };
        let (keeper, now) = Keeper::new(&config, terms(&config)).expect("no files");
        let own = Own { node: name.to_owned(), id: format!("id-of-{name}"), key: "key".to_owned() };
        let (tell, leases) = mpsc::unbounded_channel();
        let (wanted, want) = watch::channel(None);
        tokio::spawn(keeper.run(own, want, move |lease| {
            // The test may be over.
            let _ = tell.send(lease);
        }));
        Node { wanted, now, leases }
    }

    fn store(&self) -> std::sync::MutexGuard<'_, Store> {
        self.store.lock().expect("nobody panicked")
    }
}

impl Node {
    fn want(&self, generation: Option<u64>) {
        let generation = generation.map(|number| Generation::new(number).expect("small"));
        self.wanted.send_replace(generation);
    }

    async fn until(&mut self, wanted: impl FnMut(&WitnessNow) -> bool) -> WitnessNow {
        let now = timeout(PATIENCE, self.now.wait_for(wanted)).await.expect("in time").expect("it runs");
        now.clone()
    }

    async fn lease(&mut self) -> Lease {
        timeout(PATIENCE, self.leases.recv()).await.expect("in time").expect("it runs")
    }
}

#[tokio::test]
async fn one_has_the_lease_until_it_gives_it_back_and_then_the_other() {
    let lab = Lab::new().await;
    let (mut a, mut b) = (lab.node("a"), lab.node("b"));
    a.want(Some(2));
    let before = Moment::now();
    let lease = a.lease().await;
    assert_eq!(lease.generation, Generation::new(2).expect("small"));
    // From when it was asked for: two seconds, less what is needed to stop.
    let rests = Duration::from_secs(2) - Duration::from_millis(500 + 20);
    assert!(lease.until.on_monotonic(clock::asleep()) <= Moment::now().on_monotonic(clock::asleep()) + rests);
    assert!(lease.until.on_monotonic(clock::asleep()) >= before.on_monotonic(clock::asleep()));
    assert_eq!(lab.store().value(), Some(json!({ "node": "a", "id": "id-of-a", "generation": 2 })));
    b.want(Some(3));
    b.until(|now| now.holder == Holder::Other("a".to_owned())).await;
    assert!(b.leases.try_recv().is_err(), "it has it as well");
    let later = a.lease().await;
    assert!(later.until.on_monotonic(clock::asleep()) > lease.until.on_monotonic(clock::asleep()));
    // A newer generation is written down, without letting go.
    a.want(Some(4));
    while a.lease().await.generation != Generation::new(4).expect("small") {}
    assert_eq!(lab.store().value().expect("it has it")["generation"], 4);
    a.want(None);
    b.lease().await;
    a.until(|now| now.holder == Holder::Other("b".to_owned())).await;
    assert_eq!(lab.store().value(), Some(json!({ "node": "b", "id": "id-of-b", "generation": 3 })));
}

#[tokio::test]
async fn a_lost_answer_loses_nothing() {
    for path in ["/v3/kv/txn", "/v3/lease/grant", "/v3/lease/keepalive"] {
        let lab = Lab::new().await;
        let mut a = lab.node("a");
        lab.store().loses = (path, 1);
        a.want(Some(2));
        a.lease().await;
        a.lease().await;
        assert_eq!(lab.store().loses.1, 0, "{path}");
    }
}

#[tokio::test]
async fn a_lease_that_etcd_has_ended_is_not_rested_on_and_a_new_one_is_got() {
    let lab = Lab::new().await;
    let mut a = lab.node("a");
    a.want(Some(2));
    a.lease().await;
    let lease = lab.store().leases[0];
    lab.store().end(lease);
    a.lease().await;
    assert_ne!(lab.store().key.as_ref().map(|(lease, ..)| *lease), Some(lease));
}

#[tokio::test]
async fn a_key_that_somebody_else_has_put_there_is_his() {
    let lab = Lab::new().await;
    let mut a = lab.node("a");
    a.want(Some(2));
    a.lease().await;
    // As by hand: the lease lives, and the key is not ours.
    lab.store().key = Some((0, 99, STANDARD.encode("by hand")));
    a.until(|now| now.holder == Holder::Other("somebody else".to_owned())).await;
    // It is told at once, not only by the end of what it was told before.
    let told = a.lease().await;
    let asleep = clock::asleep();
    let mut until = told.until;
    while let Ok(lease) = a.leases.try_recv() {
        until = lease.until;
    }
    assert!(until.on_monotonic(asleep) <= clock::now(), "it rests on it");
    assert!(timeout(Duration::from_secs(1), a.leases.recv()).await.is_err(), "it rests on it");
    lab.store().key = None;
    a.lease().await;
}

#[tokio::test]
async fn a_node_takes_over_what_its_own_earlier_agent_left() {
    let lab = Lab::new().await;
    let mut a = lab.node("a");
    a.want(Some(2));
    a.lease().await;
    // As by `kill -9`: nobody gives it back.
    drop(a);
    let mut again = lab.node("a");
    again.want(Some(4));
    again.lease().await;
    assert_eq!(lab.store().value().expect("it has it")["generation"], 4);
}

#[tokio::test]
async fn one_that_does_not_answer_is_lost_after_a_while_and_comes_back() {
    let lab = Lab::new().await;
    let mut a = lab.node("a");
    a.want(Some(2));
    a.lease().await;
    lab.store().loses = ("/v3/lease/keepalive", 5);
    let now = a.until(|now| now.error.is_some()).await;
    let (answered, terms) = (now.answered.expect("it did"), terms_of_two_seconds());
    assert!(!now.is_lost(answered + terms.lost() / 2, &terms), "one answer may be missing");
    assert!(now.is_lost(answered + terms.lost(), &terms));
    let now = a.until(|now| now.error.is_none()).await;
    assert!(!now.is_lost(clock::now(), &terms) && now.holder == Holder::This);
    assert_eq!(now.via, Some(format!("http://{}", lab.fake.address)));
    let never = WitnessNow { error: Some("why".to_owned()), ..WitnessNow::default() };
    assert!(never.is_lost(clock::now(), &terms), "it has never answered");
}

fn terms(config: &WitnessConfig) -> Terms {
    let peer = PeerConfig {
        listen: Vec::new(),
        connect: Vec::new(),
        heartbeat: Duration::from_millis(200),
        dead_after: 2,
        directory: "peer".into(),
        shared: None,
    };
    Terms::new(config, &peer)
}

fn terms_of_two_seconds() -> Terms {
    let kind = WitnessKind::Gateway([10, 0, 0, 1].into());
    terms(&WitnessConfig { kind, lease: Duration::from_secs(2) })
}

const PATIENCE: Duration = Duration::from_secs(20);
