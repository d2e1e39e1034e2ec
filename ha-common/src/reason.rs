//! Why a frame was not taken: one definition for the kernel's counters, `bpftool`'s field names, the
//! status, the metrics and the manual.

/// Defines an enum of reasons and, field by field in the same order, their counters.
macro_rules! reasons {
    (
        $(#[$reason_doc:meta])* enum $Reason:ident;
        $(#[$counters_doc:meta])* struct $Counters:ident {
            $(#[$received_doc:meta])* received,
            $(#[$accepted_doc:meta])* accepted,
        }
        $($(#[$doc:meta])* $variant:ident, $label:ident, $sentence:literal;)+
    ) => {
        $(#[$reason_doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum $Reason {
            $($(#[$doc])* $variant,)+
        }

        impl $Reason {
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Each, in the order of the counters.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The counter's name: a metric's label, a field of the counters.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($label),)+
                }
            }

            /// What an operator is told.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self {
                    $(Self::$variant => $sentence,)+
                }
            }
        }

        $(#[$counters_doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[repr(C)]
        pub struct $Counters {
            $(#[$received_doc])*
            pub received: u64,
            $(#[$accepted_doc])*
            pub accepted: u64,
            $(#[doc = $sentence] pub $label: u64,)+
        }

        impl $Counters {
            /// The counter of one reason.
            #[must_use]
            pub const fn refused(&self, reason: $Reason) -> u64 {
                match reason {
                    $($Reason::$variant => self.$label,)+
                }
            }

            /// Counts one more frame for a reason, and returns how many there are now.
            #[inline(always)]
            pub const fn count(&mut self, reason: $Reason) -> u64 {
                let counter = match reason {
                    $($Reason::$variant => &mut self.$label,)+
                };
                *counter += 1;
                *counter
            }

            /// Adds what another processor counted.
            pub const fn add(&mut self, other: &Self) {
                self.received += other.received;
                self.accepted += other.accepted;
                $(self.$label += other.$label;)+
            }

            /// What was counted since there were these.
            #[must_use]
            pub const fn since(&self, before: &Self) -> Self {
                Self {
                    received: self.received.saturating_sub(before.received),
                    accepted: self.accepted.saturating_sub(before.accepted),
                    $($label: self.$label.saturating_sub(before.$label),)+
                }
            }
        }
    };
}

pub(crate) use reasons;

reasons! {
    /// Why a frame on protocol 112 was not taken as an advertisement.
    ///
    /// The names are those of the BSDs' counters where they have one (CARP specification §7).
    enum Reason;
    /// What one processor counted for one watch, in frames.
    struct Counters {
        /// Frames on protocol 112 that were looked at.
        received,
        /// Advertisements that were pushed into the ring.
        accepted,
    }
    /// VRRP, or something else on protocol 112. Passed on untouched.
    NotCarp, notcarp, "not CARP: VRRP or another use of protocol 112, passed on untouched";
    /// As long as CARP, but of another version or type. Passed on untouched.
    BadVer, badver, "neither CARP version 2 nor VRRP, passed on untouched";
    /// A virtual host that is not ours. Passed on untouched.
    BadVhid, badvhid, "an unknown virtual host, passed on untouched";
    /// IPv4 options, which no implementation sends.
    BadOpts, badopts, "IPv4 options, which no CARP sender uses";
    /// A fragment.
    BadFrag, badfrag, "a fragment, which no CARP sender uses";
    /// Fewer than 255 hops left: it came from another link.
    BadTtl, badttl, "a TTL or hop limit other than 255: not from this link";
    /// The frame ends before its headers say.
    BadLen, badlen, "shorter than its headers say";
    /// Sent to somebody else.
    BadDst, baddst, "sent to another address than the virtual host's group or, with unicast, our own";
    /// Damaged on the way, or badly made.
    BadSum, badsum, "a wrong checksum (IPv4 header or CARP)";
    /// Our own frame, sent back to us by the network.
    Looped, looped, "our own advertisement, sent back to us by the network";
    /// The virtual host has a list of peers, and the sender is not on it.
    BadSource, badsource, "from an address that is not among the virtual host's peers";
    /// Another passphrase or another address list.
    BadAuth, badauth, "a wrong digest: passphrase or address list differs from ours";
    /// Strict mode: advbase, advskew or demote differ from their protected copy in the counter.
    Rewritten, rewritten, "advbase, advskew or demote were changed on the way (or the sender is not in strict mode)";
    /// Strict mode: made too long ago, or in the future.
    Stale, stale, "made too long ago or in the future: replayed, or the clocks differ by more than is allowed";
    /// Strict mode: this advertisement, or a later one, was heard before.
    Replay, replay, "heard before: a recorded advertisement was sent again";
    /// Strict mode: there is no room to remember the sender.
    NoRoom, noroom, "too many senders to remember; list the peers";
    /// The ring was full: user space reads too slowly.
    RingFull, ringfull, "the event ring was full, the advertisement was lost";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_counts_in_its_own_field_and_nowhere_else() {
        for &reason in Reason::ALL {
            let mut counters = Counters::default();
            counters.count(reason);
            for &other in Reason::ALL {
                assert_eq!(counters.refused(other), u64::from(other == reason), "{reason:?} and {other:?}");
            }
            let mut sum = counters;
            sum.add(&counters);
            assert_eq!(sum.refused(reason), 2);
        }
    }

    #[test]
    fn counters_are_as_wide_as_the_reasons_are_many() {
        assert_eq!(size_of::<Counters>(), 8 * (2 + Reason::ALL.len()));
    }
}
