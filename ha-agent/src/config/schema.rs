//! The keys of the configuration, table by table, and what to say about any other.

use super::mistake::Mistake;
use super::quote::Excerpt;

/// What a kind of table may contain.
pub(super) struct Schema {
    /// Where its keys stand, as it reads in a sentence.
    pub(super) place: &'static str,
    keys: &'static [&'static Key],
}

/// A key, and how to write it.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) example: &'static str,
}

impl Schema {
    /// Whether a table of this kind may have `key`.
    pub(super) fn has(&self, key: &str) -> bool {
        self.keys.iter().any(|known| known.name == key)
    }

    /// The mistake of a key that this kind of table does not have.
    pub(super) fn refuse(&self, unknown: &str) -> Mistake {
        let key = Excerpt::new(unknown);
        if let Some(home) = SCHEMAS.iter().find(|schema| schema.has(unknown)) {
            return Mistake::MisplacedKey { key, place: self.place, home: home.place };
        }
        match nearest(self.names(), unknown) {
            Some(nearest) => Mistake::MisspelledKey { key, place: self.place, nearest },
            None => Mistake::UnknownKey { key, place: self.place, known: self.names().join(", ") },
        }
    }

    /// The names of its keys.
    pub(super) fn names(&self) -> Vec<&'static str> {
        self.keys.iter().map(|key| key.name).collect()
    }
}

/// The known word that `unknown` was probably meant to be.
pub(super) fn nearest(known: impl IntoIterator<Item = &'static str>, unknown: &str) -> Option<&'static str> {
    let unknown = unknown.to_lowercase();
    let similarity = |word: &str| strsim::jaro_winkler(word, &unknown);
    let nearest = known.into_iter().max_by(|a, b| similarity(a).total_cmp(&similarity(b)))?;
    (similarity(nearest) >= NEAR).then_some(nearest)
}

pub(super) static ROOT: Schema =
    Schema { place: "at the top of the file", keys: &[&NODE, &AUTH, &REALTIME, &PEER, &WITNESS, &VHOST] };
pub(super) static NODE: Key = Key { name: "node", example: "node = \"controller-a\"" };
pub(super) static AUTH: Key = Key { name: "auth", example: "[auth]" };
pub(super) static REALTIME: Key = Key { name: "realtime", example: "[realtime]" };
pub(super) static PEER: Key = Key { name: "peer", example: "[peer]" };
pub(super) static WITNESS: Key = Key { name: "witness", example: "[witness]" };
pub(super) static VHOST: Key = Key { name: "vhost", example: "[[vhost]]" };

pub(super) static AUTH_TABLE: Schema =
    Schema { place: "in [auth]", keys: &[&PASSPHRASE_FILE, &MODE, &CLOCK_DIFFERENCE] };
pub(super) static PASSPHRASE_FILE: Key =
    Key { name: "passphrase_file", example: "passphrase_file = \"carp.key\"" };
pub(super) static MODE: Key = Key { name: "mode", example: "mode = \"compat\"" };
pub(super) static CLOCK_DIFFERENCE: Key =
    Key { name: "clock_difference", example: "clock_difference = \"2s\"" };

pub(super) static REALTIME_TABLE: Schema =
    Schema { place: "in [realtime]", keys: &[&PRIORITY, &LOCK_MEMORY, &CPU_DMA_LATENCY] };
pub(super) static PRIORITY: Key = Key { name: "priority", example: "priority = 50" };
pub(super) static LOCK_MEMORY: Key = Key { name: "lock_memory", example: "lock_memory = true" };
pub(super) static CPU_DMA_LATENCY: Key =
    Key { name: "cpu_dma_latency", example: "cpu_dma_latency = \"leave\"" };

pub(super) static PEER_TABLE: Schema =
    Schema { place: "in [peer]", keys: &[&LISTEN, &CONNECT, &HEARTBEAT, &DEAD_AFTER, &DIRECTORY, &SHARED] };
pub(super) static LISTEN: Key = Key { name: "listen", example: "listen = [\"10.0.0.1:7780\"]" };
pub(super) static CONNECT: Key = Key { name: "connect", example: "connect = [\"10.0.0.2:7780\"]" };
pub(super) static HEARTBEAT: Key = Key { name: "heartbeat", example: "heartbeat = \"200ms\"" };
pub(super) static DEAD_AFTER: Key = Key { name: "dead_after", example: "dead_after = 2" };
pub(super) static DIRECTORY: Key =
    Key { name: "directory", example: "directory = \"/var/lib/ha-agent/peer\"" };
pub(super) static SHARED: Key = Key { name: "shared", example: "shared = \"shared.json\"" };

pub(super) static WITNESS_TABLE: Schema = Schema {
    place: "in [witness]",
    keys: &[&ETCD, &ETCD_KEY, &CA_FILE, &CERT_FILE, &KEY_FILE, &GATEWAY, &LEASE],
};
pub(super) static ETCD: Key = Key { name: "etcd", example: "etcd = [\"https://10.0.0.9:2379\"]" };
pub(super) static ETCD_KEY: Key = Key { name: "key", example: "key = \"ha-agent/pair-1\"" };
pub(super) static CA_FILE: Key = Key { name: "ca_file", example: "ca_file = \"etcd-ca.pem\"" };
pub(super) static CERT_FILE: Key = Key { name: "cert_file", example: "cert_file = \"etcd-client.pem\"" };
pub(super) static KEY_FILE: Key = Key { name: "key_file", example: "key_file = \"etcd-client.key\"" };
pub(super) static GATEWAY: Key = Key { name: "gateway", example: "gateway = \"10.77.0.254\"" };
pub(super) static LEASE: Key = Key { name: "lease", example: "lease = \"3s\"" };

pub(super) static VHOST_TABLE: Schema = Schema {
    place: "in [[vhost]]",
    keys: &[
        &NAME,
        &INTERFACE,
        &VHID,
        &ADDRESSES,
        &ADVBASE,
        &ADVSKEW,
        &INTERVAL,
        &DETECT,
        &PREEMPT,
        &PEERS,
        &UNICAST,
        &REFUSED,
        &MAC,
        &ADVERTISE_FROM,
        &FAMILIES,
        &ANNOUNCE_EVERY,
        &GROUP,
        &CRITICAL,
    ],
};
pub(super) static NAME: Key = Key { name: "name", example: "name = \"data\"" };
pub(super) static INTERFACE: Key = Key { name: "interface", example: "interface = \"eth0\"" };
pub(super) static VHID: Key = Key { name: "vhid", example: "vhid = 10" };
pub(super) static ADDRESSES: Key = Key { name: "addresses", example: "addresses = [\"10.77.0.100/24\"]" };
pub(super) static ADVBASE: Key = Key { name: "advbase", example: "advbase = 1" };
pub(super) static ADVSKEW: Key = Key { name: "advskew", example: "advskew = 0" };
pub(super) static INTERVAL: Key = Key { name: "interval", example: "interval = \"10ms\"" };
pub(super) static DETECT: Key = Key { name: "detect", example: "detect = 3" };
pub(super) static PREEMPT: Key = Key { name: "preempt", example: "preempt = false" };
pub(super) static PEERS: Key = Key { name: "peers", example: "peers = [\"10.77.0.2\"]" };
pub(super) static UNICAST: Key = Key { name: "unicast", example: "unicast = [\"10.77.0.2\"]" };
pub(super) static REFUSED: Key = Key { name: "refused", example: "refused = \"drop\"" };
pub(super) static MAC: Key = Key { name: "mac", example: "mac = \"interface\"" };
pub(super) static ADVERTISE_FROM: Key =
    Key { name: "advertise_from", example: "advertise_from = \"interface\"" };
pub(super) static FAMILIES: Key = Key { name: "families", example: "families = \"either\"" };
pub(super) static ANNOUNCE_EVERY: Key = Key { name: "announce_every", example: "announce_every = \"60s\"" };
pub(super) static GROUP: Key = Key { name: "group", example: "group = \"clients\"" };
pub(super) static CRITICAL: Key = Key { name: "critical", example: "critical = true" };

/// What the two nodes of a pair have in common, in a document of its own.
pub(super) static SHARED_ROOT: Schema =
    Schema { place: "at the top of the shared configuration", keys: &[&AUTH, &VHOST] };
pub(super) static SHARED_AUTH: Schema =
    Schema { place: "in [auth] of the shared configuration", keys: &[&MODE, &CLOCK_DIFFERENCE] };
pub(super) static SHARED_VHOST: Schema = Schema {
    place: "in [[vhost]] of the shared configuration",
    keys: &[
        &NAME,
        &VHID,
        &ADDRESSES,
        &ADVBASE,
        &INTERVAL,
        &DETECT,
        &PREEMPT,
        &REFUSED,
        &MAC,
        &ADVERTISE_FROM,
        &FAMILIES,
        &ANNOUNCE_EVERY,
        &GROUP,
        &CRITICAL,
    ],
};

/// Whether a key of [auth] or [[vhost]] is one that the nodes have in common; the name of a [[vhost]] stands in both.
pub(super) fn is_shared(key: &str) -> bool {
    key != NAME.name && [&SHARED_AUTH, &SHARED_VHOST].iter().any(|schema| schema.has(key))
}

pub(super) static SCHEMAS: [&Schema; 6] =
    [&ROOT, &AUTH_TABLE, &REALTIME_TABLE, &PEER_TABLE, &WITNESS_TABLE, &VHOST_TABLE];

/// Jaro–Winkler similarity from which a known key is worth a guess.
const NEAR: f64 = 0.8;
