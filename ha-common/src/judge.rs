//! What is to become of a frame: every check in its order, from cheap to dear.
//!
//! One function for the kernel's program and for user space, where it is tested and fuzzed against the loaded
//! program. What it has to know beyond the frame it asks a [`World`]: maps in the kernel, collections in a test.

use crate::abi::{Address, GivenKey, HeardKey, ListKey, Role, Watch, WatchKey};
use crate::auth::{DIGEST_LEN, Scratch};
use crate::decode::Candidate;
use crate::fresh::{Heard, Stamp};
use crate::reason::Reason;
use crate::wire::carp;

/// What is known besides the frame.
pub trait World {
    /// The watch that a frame belongs to, if it is ours.
    fn watch(&self, key: &WatchKey) -> Option<Watch>;

    /// Whether an address is in a virtual host's list.
    fn lists(&self, key: &ListKey) -> bool;

    /// Which of the passphrases in a set of keys makes this digest, counted from 0.
    fn signer(
        &self,
        keys: u32,
        scratch: &mut Scratch,
        counter: u64,
        digest: &[u8; DIGEST_LEN],
    ) -> Option<u32>;

    /// Now, in ns of `CLOCK_MONOTONIC`.
    fn now_ns(&self) -> u64;

    /// The time of day, in ms since 2025-01-01.
    fn wall_ms(&self, now_ns: u64) -> u64;

    /// Strict mode: whether an advertisement is our own.
    fn gave(&self, key: &GivenKey) -> bool;

    /// What was heard under a key, if anything was.
    fn heard(&self, key: &HeardKey) -> Option<Heard>;

    /// Remembers a time, in one step with finding out that it was not heard before.
    ///
    /// # Errors
    ///
    /// [`Reason::Replay`] if it was, [`Reason::NoRoom`] if nothing more can be remembered.
    fn hear(&self, key: &HeardKey, ms: u64, now_ns: u64) -> Result<(), Reason>;
}

/// Where a frame lies while it is judged. In memory that is given, because the kernel's stack is small.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Desk {
    /// Which watch it is for.
    pub key: WatchKey,
    /// Strict mode: how far a sender that has the key, and does not repeat what is old, is demoted, and 1; 0 where nobody
    /// says so now.
    pub demoted: u32,
    /// That watch, if we have it.
    pub watch: Watch,
    /// Who sent it.
    pub source: Address,
    /// What he says, where that was taken.
    pub carp: [u8; carp::LEN],
    sender: HeardKey,
    scratch: Scratch,
}

/// What is to become of a frame that says it is CARP.
#[derive(Clone, Copy, Debug)]
pub enum Judgement {
    /// Not for us: passed, counted in common.
    Others(Reason),
    /// For one of our virtual hosts, and not taken.
    Refused(Reason),
    /// An advertisement of somebody who has the key and, in strict mode, made it just now.
    Accepted {
        /// When it arrived, in ns of `CLOCK_MONOTONIC`.
        stamp_ns: u64,
        /// Which of the passphrases signed it, counted from 0.
        signer: u32,
    },
}

/// Judges a frame that arrived on an interface. On the desk remains what is known of it.
#[inline(always)]
pub fn judge(candidate: &Candidate<'_>, ifindex: u32, world: &impl World, desk: &mut Desk) -> Judgement {
    desk.key = WatchKey {
        ifindex,
        outer_vlan: candidate.outer_vlan,
        vlan: candidate.vlan,
        vhid: candidate.vhid,
        family: candidate.family(),
        reserved: [0; 2],
    };
    desk.watch = match world.watch(&desk.key) {
        Some(watch) => watch,
        None => return Judgement::Others(Reason::BadVhid),
    };
    desk.source = candidate.source();
    desk.demoted = 0;
    match accept(candidate, world, desk) {
        Ok(accepted) => accepted,
        Err(reason) => Judgement::Refused(reason),
    }
}

#[inline(always)]
fn accept(candidate: &Candidate<'_>, world: &impl World, desk: &mut Desk) -> Result<Judgement, Reason> {
    let Desk { key, watch, source, carp, sender, scratch, demoted } = desk;
    let listed = |role, address: &Address| listed(watch.host, role, key.family, address, world);
    // From here on the frame itself is not looked at: so the verifier sees one way to go on, however a frame was tagged
    // and addressed, and loads the program in a fraction of the time.
    *carp = *candidate.check(|address| {
        if watch.has(Watch::UNICAST) { listed(Role::OWN, address) } else { *address == watch.group }
    })?;
    let carp = core::hint::black_box(&*carp);
    if listed(Role::OWN, source) {
        return Err(Reason::Looped);
    }
    if watch.has(Watch::PEERS_ONLY) && !listed(Role::PEER, source) {
        return Err(Reason::BadSource);
    }
    let header = carp::Header(carp);
    let stamp_ns = world.now_ns();
    let signer = world.signer(watch.keys, scratch, header.counter(), header.digest());
    let signer = signer.ok_or(Reason::BadAuth)?;
    if watch.has(Watch::STRICT) {
        if !Stamp::from_counter(header.counter()).agrees_with(header) {
            return Err(Reason::Rewritten);
        }
        // Ours, whoever sends it back to us: else he could say in another's name what we say in our own.
        if world.gave(&GivenKey { counter: header.counter(), host: watch.host, reserved: 0 }) {
            return Err(Reason::Looped);
        }
        *sender = HeardKey::sender(watch.host, key.family, *source);
        let fresh = freshness(header.counter(), watch.tolerance_ms, stamp_ns, sender, world);
        // What was recorded can't be of the future: then it is our clock that stood still.
        let is_ahead = || Stamp::from_counter(header.counter()).ms > world.wall_ms(stamp_ns);
        if !header.is_bow_out() && (fresh.is_ok() || (fresh == Err(Reason::Stale) && is_ahead())) {
            *demoted = 1 + u32::from(header.demote());
        }
        fresh?;
    }
    Ok(Judgement::Accepted { stamp_ns, signer })
}

impl Default for Desk {
    fn default() -> Self {
        let key = WatchKey { ifindex: 0, outer_vlan: 0, vlan: 0, vhid: 0, family: 0, reserved: [0; 2] };
        Self {
            key,
            demoted: 0,
            watch: Watch::default(),
            source: Address::default(),
            carp: [0; carp::LEN],
            sender: HeardKey::sender(0, 0, Address::default()),
            scratch: Scratch::default(),
        }
    }
}

/// Whether an address is in a list. A function of its own, also in the kernel, whose stack is small.
#[inline(never)]
fn listed(host: u32, role: Role, family: u8, address: &Address, world: &impl World) -> bool {
    let address = *core::hint::black_box(address);
    world.lists(&ListKey { host, role, family, reserved: [0; 2], address })
}

/// Whether an authentic advertisement was made just now and is heard for the first time.
///
/// It must be new both for its sender and for its fields: an advertisement that is sent again from another
/// address is known by its fields, one with older fields by its sender. A function of its own, also in the
/// kernel, whose stack is small.
#[inline(never)]
fn freshness(
    counter: u64,
    tolerance_ms: u32,
    now_ns: u64,
    sender: &HeardKey,
    world: &impl World,
) -> Result<(), Reason> {
    let sender = core::hint::black_box(sender);
    let (stamp, tolerance_ms) = (Stamp::from_counter(counter), u64::from(tolerance_ms));
    let known = world.heard(sender);
    if known.is_some_and(|known| known.has(stamp.ms)) {
        return Err(Reason::Replay);
    }
    let in_time = world.wall_ms(now_ns).abs_diff(stamp.ms) <= tolerance_ms
        || known.is_some_and(|known| known.continues(stamp.ms, now_ns, tolerance_ms));
    if !in_time {
        return Err(Reason::Stale);
    }
    world.hear(&HeardKey::fields(sender.host, stamp), stamp.ms, now_ns)?;
    world.hear(sender, stamp.ms, now_ns)
}
