//! Settings that are one of a few words.

use std::fmt;

use super::mistake::Mistake;
use super::quote::Excerpt;
use super::schema::nearest;

/// A setting that is one of a few words.
pub(super) trait Choice: Copy + 'static {
    /// All of them, the default first.
    const ALL: &'static [Self];

    /// As it is written in the configuration.
    fn word(self) -> &'static str;
}

/// The choice that `text` names, for the key `key`.
pub(super) fn choose<T: Choice>(key: &'static str, text: &str) -> Result<T, Mistake> {
    let words = || T::ALL.iter().map(|choice| choice.word());
    T::ALL.iter().copied().find(|choice| choice.word() == text).ok_or_else(|| {
        let known = words().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ");
        let word = Excerpt::new(text);
        match nearest(words(), text) {
            Some(nearest) => Mistake::MisspelledWord { key, word, known, nearest },
            None => Mistake::UnknownWord { key, word, known },
        }
    })
}

macro_rules! choices {
    ($(
        $(#[$attribute:meta])*
        $name:ident {
            $(#[$default_attribute:meta])* $default:ident = $default_word:literal,
            $($(#[$variant_attribute:meta])* $variant:ident = $word:literal,)+
        }
    )+) => {$(
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub enum $name {
            $(#[$default_attribute])* #[default] $default,
            $($(#[$variant_attribute])* $variant,)+
        }

        impl Choice for $name {
            const ALL: &'static [Self] = &[Self::$default, $(Self::$variant),+];

            fn word(self) -> &'static str {
                match self {
                    Self::$default => $default_word,
                    $(Self::$variant => $word,)+
                }
            }
        }

        /// The word of the configuration.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.word())
            }
        }
    )+};
}

choices! {
    /// What an advertisement must show besides its digest.
    Mode {
        /// Nothing: the counter is as other implementations have it, so replays cannot be told from the original.
        Compat = "compat",
        /// Freshness, in the counter: only between our own nodes.
        Strict = "strict",
    }

    /// What becomes of a frame for one of our virtual hosts that is refused.
    Refused {
        /// The kernel drops it.
        Drop = "drop",
        /// It goes on to whoever else listens on this machine.
        Pass = "pass",
    }

    /// Where on their way advertisements are read.
    Receive {
        /// Where it is soonest possible.
        Auto = "auto",
        /// XDP, in the driver.
        Native = "native",
        /// XDP, in the kernel's generic path.
        Generic = "generic",
        /// Traffic control, behind XDP.
        Tcx = "tcx",
        /// A packet socket, read by the agent.
        Packet = "packet",
    }

    /// A MAC address to be used.
    MacChoice {
        /// The interface's own.
        Interface = "interface",
        /// The virtual host's: `00:00:5e:00:01:VHID` (CARP specification §6).
        Virtual = "virtual",
    }

    /// How many of a virtual host's address families keep a master alive.
    FamilyRule {
        /// Each alone.
        Either = "either",
        /// Only both: losing one of them is a takeover, as in OpenBSD (CARP specification §9.3, point 17).
        Both = "both",
    }

    /// Which frames are dropped where the agent does not vouch for its node any more.
    LeaseDrop {
        /// All that are sent to a virtual address, and requests for it.
        All = "all",
        /// Requests for it.
        Requests = "requests",
    }

    /// How the other node is kept from writing.
    FenceLevel {
        /// Its reservation keys are taken off the disks.
        Reservation = "reservation",
        /// A program turns it off.
        Command = "command",
    }

    /// What becomes of keys on a shared disk that are of neither node.
    Strangers {
        /// Nothing is taken over.
        Refuse = "refuse",
        /// They are taken off like the peer's.
        Preempt = "preempt",
    }

    /// Whether the active node arms a watchdog.
    WatchdogUse {
        /// Where there is one.
        IfPresent = "if-present",
        /// Always: without one, it does not become active.
        Required = "required",
        /// Never.
        Off = "off",
    }

    /// How a node ends that may not go on.
    SelfFenceChoice {
        /// The machine is reset at once.
        Reset = "reset",
        /// The agent ends, and says why.
        Exit = "exit",
    }

    /// What becomes of a file system that is in use and is to be released.
    BusyChoice {
        /// It is waited for, until the time is over.
        Wait = "wait",
        /// Whoever uses it is killed, once half of the time is over.
        Kill = "kill",
    }

    /// What follows if something can't be taken over.
    OnFailure {
        /// Nothing is taken over.
        Undo = "undo",
        /// The rest is.
        GoOn = "go-on",
        /// This node ends itself.
        SelfFence = "self-fence",
    }
}
