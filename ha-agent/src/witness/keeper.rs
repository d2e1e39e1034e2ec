//! Keeps the lease as the pair machine wants it, and tells until when the node may rest on it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::error::{WitnessError, WitnessFileError};
use super::etcd::{Entry, Etcd, If, LeaseId};
use super::{Holder, Lease, Moment, Terms, WitnessNow, gateway, http};
use crate::config::quote::OneLine;
use crate::config::{Url, WitnessConfig, WitnessKind};
use crate::core::pair::Generation;
use crate::sys::clock;

/// What is wanted: the lease for this generation, or none.
pub type Wanted = Option<Generation>;

/// Who this node is to the witness.
#[derive(Clone, Debug)]
pub struct Own {
    /// Its name.
    pub node: String,
    /// Its number, which nobody else has.
    pub id: String,
    /// The key that is used if the configuration names none: the same on both nodes.
    pub key: String,
}

/// Asks the witness, for as long as somebody may want something of it.
pub struct Keeper {
    kind: Kind,
    terms: Terms,
    shown: watch::Sender<WitnessNow>,
}

enum Kind {
    Etcd { urls: Vec<Url>, key: Option<String>, tls: Option<Arc<ClientConfig>> },
    Gateway(IpAddr),
}

impl Keeper {
    /// Reads the files for TLS. The receiver shows what is known.
    ///
    /// # Errors
    ///
    /// If they can't be used.
    pub fn new(
        config: &WitnessConfig,
        terms: Terms,
    ) -> Result<(Self, watch::Receiver<WitnessNow>), WitnessFileError> {
        let kind = match &config.kind {
            WitnessKind::Etcd { urls, key, tls } => {
                let tls = tls.as_ref().map(http::tls).transpose()?;
                Kind::Etcd { urls: urls.clone(), key: key.clone(), tls }
            }
            WitnessKind::Gateway(address) => Kind::Gateway(*address),
        };
        let (shown, receiver) = watch::channel(WitnessNow::default());
        Ok((Self { kind, terms, shown }, receiver))
    }

    /// Does what is wanted; `tell` is told each time that the node may rest on the lease for longer, or, with a moment that
    /// is past, that it may not any more. Ends when nobody can want anything any more; the lease is not given back then.
    pub async fn run(self, own: Own, mut wanted: watch::Receiver<Wanted>, tell: impl Fn(Lease)) {
        let Self { kind, terms, shown } = self;
        let mut worker = match kind {
            Kind::Etcd { urls, key, tls } => {
                let etcd = Etcd::new(urls, tls, terms.request());
                let key = key.unwrap_or_else(|| own.key.clone());
                Worker::Etcd(Box::new(Claimant { etcd, key, own, lease: None, held: None, terms }))
            }
            Kind::Gateway(address) => Worker::Gateway { address, terms },
        };
        let mut rests = false;
        loop {
            let now_wanted = *wanted.borrow_and_update();
            let result = worker.turn(now_wanted).await;
            if let (Ok(Seen { lasts, .. }), Some(generation)) = (&result, now_wanted) {
                // What it was told before does not hold any more, if somebody else has it by now.
                let lost = std::mem::replace(&mut rests, lasts.is_some()).then(Moment::now);
                if let Some(until) = lasts.or(lost) {
                    tell(Lease { generation, until });
                }
            }
            let pause = match (now_wanted, &result) {
                (None, Ok(Seen { holder: Holder::Other(_), .. })) => terms.look(),
                (Some(_), Ok(Seen { lasts: None, .. })) => terms.retry(),
                (None, Ok(_)) if terms.is_exclusive() => terms.retry(),
                (Some(_) | None, Ok(_)) | (_, Err(_)) => terms.renew(),
            };
            shown.send_modify(|now| note(now, result));
            tokio::select! {
                changed = wanted.changed() => if changed.is_err() {
                    return;
                },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

/// What came of asking.
struct Seen {
    /// Who answered.
    via: String,
    holder: Holder,
    /// Until when the node may rest on it, if it has it.
    lasts: Option<Moment>,
}

fn note(now: &mut WitnessNow, result: Result<Seen, WitnessError>) {
    match result {
        Ok(Seen { via, holder, lasts: _ }) => {
            if now.error.take().is_some() {
                tracing::info!("the witness answers again, at {via}");
            }
            *now = WitnessNow { answered: Some(clock::now()), via: Some(via), holder, error: None };
        }
        Err(error) => {
            let error = error.to_string();
            // The status shows what comes after it.
            if now.error.is_none() {
                tracing::warn!("the witness: {error}");
            }
            // Who had it then may not have it any more.
            (now.holder, now.error) = (Holder::Nobody, Some(error));
        }
    }
}

enum Worker {
    Etcd(Box<Claimant>),
    Gateway { address: IpAddr, terms: Terms },
}

impl Worker {
    async fn turn(&mut self, wanted: Wanted) -> Result<Seen, WitnessError> {
        match self {
            Self::Etcd(claimant) => match wanted {
                Some(generation) => claimant.keep(generation).await,
                None => claimant.give_back().await,
            },
            Self::Gateway { address, terms } => {
                let asked = Moment::now();
                gateway::ask(*address, terms.request()).await?;
                let lasts = Some(asked.after(terms.rests(terms.lease())));
                Ok(Seen { via: address.to_string(), holder: Holder::Nobody, lasts })
            }
        }
    }
}

/// Whoever wants the key in etcd for this node.
struct Claimant {
    etcd: Etcd,
    key: String,
    own: Own,
    terms: Terms,
    /// Ours, whether the key is attached to it or not.
    lease: Option<LeaseId>,
    /// What stands at the key, if it is attached to our lease.
    held: Option<Generation>,
}

/// What stands at the key: who has it, and the fencing generation.
#[derive(Debug, Serialize, Deserialize)]
struct Owner {
    node: String,
    id: String,
    generation: Generation,
}

impl Claimant {
    /// Gets the lease, or keeps it.
    async fn keep(&mut self, generation: Generation) -> Result<Seen, WitnessError> {
        let asked = Moment::now();
        let (lease, granted) = self.renew().await?;
        let holder = self.claim(lease, generation).await?;
        // Never longer than was asked for, whatever etcd says.
        let rests = self.terms.rests(granted.min(self.terms.lease()));
        let lasts = (holder == Holder::This).then(|| asked.after(rests));
        Ok(self.seen(holder, lasts))
    }

    async fn renew(&mut self) -> Result<(LeaseId, Duration), WitnessError> {
        if let Some(lease) = self.lease {
            if let Some(granted) = self.etcd.keep_alive(lease).await? {
                return Ok((lease, granted));
            }
            (self.lease, self.held) = (None, None);
        }
        let (lease, granted) = self.etcd.grant(self.terms.lease()).await?;
        self.lease = Some(lease);
        Ok((lease, granted))
    }

    /// That the lease lives does not say that the key is still ours: somebody may have deleted it. So that is asked, too.
    async fn claim(&mut self, lease: LeaseId, generation: Generation) -> Result<Holder, WitnessError> {
        let owner = Owner { node: self.own.node.clone(), id: self.own.id.clone(), generation };
        let value = serde_json::to_vec(&owner).unwrap_or_default();
        if let Some(held) = self.held.take() {
            let news = (held != generation).then_some(value.as_slice());
            let condition = If::Attached(lease);
            return match self.etcd.put_if(condition, &self.key, news, lease).await? {
                Ok(()) => Ok(self.hold(generation)),
                Err(entry) => Ok(holder(entry.as_ref())),
            };
        }
        let Err(entry) = self.etcd.put_if(If::Absent, &self.key, Some(&value), lease).await? else {
            return Ok(self.hold(generation));
        };
        let Some(entry) = entry else {
            // Our lease ended in between; the next turn has a new one.
            self.lease = None;
            return Ok(Holder::Nobody);
        };
        // Ours already, if an answer was lost; or left by an earlier agent of this node, which is no more.
        let is_ours = entry.lease == lease || owner_of(&entry).is_some_and(|owner| owner.id == self.own.id);
        if !is_ours {
            return Ok(holder(Some(&entry)));
        }
        let condition = If::Unchanged(entry.revision);
        match self.etcd.put_if(condition, &self.key, Some(&value), lease).await? {
            Ok(()) => Ok(self.hold(generation)),
            Err(entry) => Ok(holder(entry.as_ref())),
        }
    }

    fn hold(&mut self, generation: Generation) -> Holder {
        self.held = Some(generation);
        Holder::This
    }

    /// Gives the lease back, if there is one, and looks who has it.
    async fn give_back(&mut self) -> Result<Seen, WitnessError> {
        self.held = None;
        if let Some(lease) = self.lease {
            self.etcd.revoke(lease).await?;
            self.lease = None;
        }
        let holder = holder(self.etcd.look(&self.key).await?.as_ref());
        Ok(self.seen(holder, None))
    }

    fn seen(&self, holder: Holder, lasts: Option<Moment>) -> Seen {
        let via = self.etcd.current().map_or_else(String::new, |url| url.to_string());
        Seen { via, holder, lasts }
    }
}

/// Of somebody else, or of an earlier time.
fn holder(entry: Option<&Entry>) -> Holder {
    entry.map_or(Holder::Nobody, |entry| {
        let name = owner_of(entry).map(|owner| owner.node);
        // What stands there may be anything.
        let name: String = name.unwrap_or_else(|| "somebody else".to_owned()).chars().take(NAME).collect();
        Holder::Other(OneLine(&name).to_string())
    })
}

fn owner_of(entry: &Entry) -> Option<Owner> {
    serde_json::from_slice(&entry.value).ok()
}

/// Characters of a node's name.
const NAME: usize = 64;
