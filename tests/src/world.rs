//! What the kernel program's maps know, in collections: the same judgement in user space.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ha_common::abi::{GivenKey, HeardKey, Keys, ListKey, MAX_HEARD, Role, Watch, WatchKey, family_of};
use ha_common::auth::{DIGEST_LEN, Scratch};
use ha_common::fresh::Heard;
use ha_common::judge::World;
use ha_common::reason::Reason;

use crate::capture::now_ns;

/// A world to be judged in. The maps of a loaded program are filled from the same.
#[derive(Clone, Debug, Default)]
pub struct Site {
    /// Whom to watch for.
    pub watches: BTreeMap<WatchKey, Watch>,
    /// By which keys.
    pub keys: BTreeMap<u32, Keys>,
    /// Whose addresses are which, by virtual host and role.
    pub lists: BTreeMap<(u32, Role), BTreeSet<IpAddr>>,
    /// What time it is, in ns of `CLOCK_MONOTONIC`; that of the clock where it is not said.
    pub now_ns: Option<u64>,
    /// What to add to `CLOCK_MONOTONIC` for the time since 2025-01-01, in ns.
    pub clock_offset_ns: u64,
    /// Our own advertisements.
    pub given: BTreeSet<GivenKey>,
    /// What was heard.
    pub heard: RefCell<BTreeMap<HeardKey, Heard>>,
}

impl World for Site {
    fn watch(&self, key: &WatchKey) -> Option<Watch> {
        self.watches.get(key).copied()
    }

    fn lists(&self, key: &ListKey) -> bool {
        let list = self.lists.get(&(key.host, key.role));
        list.is_some_and(|list| {
            list.iter().any(|ip| family_of(*ip) == key.family && key.address == (*ip).into())
        })
    }

    fn signer(
        &self,
        keys: u32,
        scratch: &mut Scratch,
        counter: u64,
        digest: &[u8; DIGEST_LEN],
    ) -> Option<u32> {
        self.keys.get(&keys)?.signer(scratch, counter, digest)
    }

    fn now_ns(&self) -> u64 {
        self.now_ns.unwrap_or_else(now_ns)
    }

    fn wall_ms(&self, now_ns: u64) -> u64 {
        now_ns.wrapping_add(self.clock_offset_ns) / 1_000_000
    }

    fn gave(&self, key: &GivenKey) -> bool {
        self.given.contains(key)
    }

    fn heard(&self, key: &HeardKey) -> Option<Heard> {
        self.heard.borrow().get(key).copied()
    }

    fn hear(&self, key: &HeardKey, ms: u64, now_ns: u64) -> Result<(), Reason> {
        let mut all = self.heard.borrow_mut();
        if all.len() >= MAX_HEARD && !all.contains_key(key) {
            return Err(Reason::NoRoom);
        }
        let heard = all.entry(*key).or_default();
        if heard.has(ms) {
            return Err(Reason::Replay);
        }
        heard.record(ms, now_ns);
        Ok(())
    }
}
