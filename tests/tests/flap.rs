//! The role goes to and fro, and the client has its answer again within a dead time and 5 ms.

use std::cell::RefCell;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use lab::Peer;
use lab::flap::{Fault, Stage, Style};
use lab::pair::{VIRTUAL, VIRTUAL6};
use lab::pauses::undisturbed;

#[test]
fn a_client_has_its_answer_again_after_every_fault_and_after_its_end() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    for (label, returns, address) in
        [("returns", true, IpAddr::from(VIRTUAL)), ("stays", false, IpAddr::from(VIRTUAL6))]
    {
        let style = Style { peer: Peer::HaAgent, returns, address };
        let stage = RefCell::new(Stage::start(label, style, SEED)?);
        for (number, fault) in Fault::ALL.into_iter().enumerate() {
            // Everybody is asked where the address is in every other one; in the other half, on the other stage.
            let forgets = number.is_multiple_of(2) == returns;
            undisturbed(|| {
                let round = stage.borrow_mut().round(fault, forgets)?;
                let gap = round.gap.length();
                let allowed = stage.borrow().dead_time() + ALLOWED + TOLERANCE;
                let case = format!("{label}, {fault} for {:?}, forgets: {forgets}", round.held);
                ensure!(gap <= allowed, "{case}: {gap:?} without an answer");
                ensure!(!round.false_failover, "{case}: a standby advertised");
                Ok(())
            })?;
        }
    }
    Ok(())
}

const SEED: u64 = 4;
const ALLOWED: Duration = Duration::from_millis(5);
/// Pauses of the machine that are shorter are not noticed.
const TOLERANCE: Duration = Duration::from_millis(10);
