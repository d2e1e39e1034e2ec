//! Between the pair machine and whoever keeps the lease of the witness.

use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::super::detector::Input;
use super::super::detector::partner::PairInput;
use crate::config::{PeerConfig, WitnessConfig};
use crate::witness::{Holder, Keeper, Own, Terms, Wanted, WitnessFileError, WitnessNow};

/// The witness, made before the detector starts, asked once this node is one of a pair.
pub(super) struct Witness {
    keeper: Option<Keeper>,
    terms: Terms,
    wanted: watch::Sender<Wanted>,
    now: watch::Receiver<WitnessNow>,
}

impl Witness {
    pub(super) fn open(config: &WitnessConfig, peer: &PeerConfig) -> Result<Self, WitnessFileError> {
        let terms = Terms::new(config, peer);
        let (keeper, now) = Keeper::new(config, terms)?;
        Ok(Self { keeper: Some(keeper), terms, wanted: watch::Sender::new(None), now })
    }

    pub(super) fn terms(&self) -> Terms {
        self.terms
    }

    pub(super) fn handle(&self) -> WitnessHandle {
        WitnessHandle { terms: self.terms, wanted: self.wanted.clone(), now: self.now.clone() }
    }

    /// Begins to ask it. It ends with the last who may want anything.
    pub(super) fn begin(&mut self, own: Own, detector: mpsc::UnboundedSender<Input>) {
        if let Some(keeper) = self.keeper.take() {
            tokio::spawn(keeper.run(own, self.wanted.subscribe(), move |lease| {
                // It is gone only while the agent ends.
                let _ = detector.send(Input::Pair(PairInput::Lease(lease)));
            }));
        }
    }

    pub(super) fn want(&self, wanted: Wanted) {
        self.wanted.send_replace(wanted);
    }
}

impl std::fmt::Debug for Witness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Witness").field("terms", &self.terms).finish_non_exhaustive()
    }
}

/// For who shows what is known of the witness, and for the end.
#[derive(Clone, Debug)]
pub(in crate::agent) struct WitnessHandle {
    terms: Terms,
    wanted: watch::Sender<Wanted>,
    now: watch::Receiver<WitnessNow>,
}

impl WitnessHandle {
    /// What is known of it.
    pub(in crate::agent) fn now(&self) -> WitnessNow {
        self.now.borrow().clone()
    }

    /// Its times.
    pub(in crate::agent) fn terms(&self) -> Terms {
        self.terms
    }
}

/// Gives the lease back: only once nothing serves here. If the role was `handed` over, waits until the other
/// node has it: until then that one rests on this node's word.
pub(in crate::agent) async fn give_back(witness: WitnessHandle, handed: bool) {
    let WitnessHandle { wanted, mut now, terms } = witness;
    wanted.send_replace(None);
    let given = now.wait_for(|now| match now.holder {
        Holder::This => false,
        Holder::Nobody => !(handed && terms.is_exclusive() && now.error.is_none()),
        Holder::Other(_) => true,
    });
    if tokio::time::timeout(GIVE_BACK, given).await.is_err() {
        tracing::warn!("the witness's lease was not given back, or not taken by the other node, in time");
    }
}

/// How long an agent that ends waits for that.
const GIVE_BACK: Duration = Duration::from_secs(2);
