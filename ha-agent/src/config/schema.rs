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

pub(super) static ROOT: Schema = Schema {
    place: "at the top of the file",
    keys: &[
        &NODE,
        &AUTH,
        &REALTIME,
        &LEASE_TABLE_KEY,
        &PEER,
        &WITNESS,
        &WEB,
        &VHOST,
        &FENCE,
        &POOL,
        &MOUNT,
        &SERVICE,
        &NOTIFY,
    ],
};
pub(super) static NODE: Key = Key { name: "node", example: "node = \"controller-a\"" };
pub(super) static AUTH: Key = Key { name: "auth", example: "[auth]" };
pub(super) static REALTIME: Key = Key { name: "realtime", example: "[realtime]" };
pub(super) static LEASE_TABLE_KEY: Key = Key { name: "lease", example: "[lease]" };
pub(super) static PEER: Key = Key { name: "peer", example: "[peer]" };
pub(super) static WITNESS: Key = Key { name: "witness", example: "[witness]" };
pub(super) static WEB: Key = Key { name: "web", example: "[web]" };
pub(super) static VHOST: Key = Key { name: "vhost", example: "[[vhost]]" };

pub(super) static FENCE: Key = Key { name: "fence", example: "[fence]" };
pub(super) static POOL: Key = Key { name: "pool", example: "[[pool]]" };
pub(super) static MOUNT: Key = Key { name: "mount", example: "[[mount]]" };
pub(super) static SERVICE: Key = Key { name: "service", example: "[[service]]" };
pub(super) static NOTIFY: Key = Key { name: "notify", example: "[[notify]]" };

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

pub(super) static LEASE_TABLE: Schema = Schema { place: "in [lease]", keys: &[&LENGTH, &DROP] };
pub(super) static LENGTH: Key = Key { name: "length", example: "length = \"2s\"" };
pub(super) static DROP: Key = Key { name: "drop", example: "drop = \"all\"" };

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

pub(super) static WEB_TABLE: Schema = Schema {
    place: "in [web]",
    keys: &[&WEB_LISTEN, &TOKEN_FILE, &TRUST_HEADER, &TRUSTED_PROXIES, &HOSTS, &ACTIONS],
};
pub(super) static WEB_LISTEN: Key = Key { name: "listen", example: "listen = [\"127.0.0.1:7781\"]" };
pub(super) static TOKEN_FILE: Key = Key { name: "token_file", example: "token_file = \"web.token\"" };
pub(super) static TRUST_HEADER: Key =
    Key { name: "trust_header", example: "trust_header = \"X-Remote-User\"" };
pub(super) static TRUSTED_PROXIES: Key =
    Key { name: "trusted_proxies", example: "trusted_proxies = [\"10.77.0.8\"]" };
pub(super) static HOSTS: Key = Key { name: "hosts", example: "hosts = [\"ha.example.org\"]" };
pub(super) static ACTIONS: Key = Key { name: "actions", example: "actions = true" };

pub(super) static VHOST_TABLE: Schema = Schema {
    place: "in [[vhost]]",
    keys: &[
        &NAME,
        &INTERFACE,
        &RECEIVE,
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
pub(super) static RECEIVE: Key = Key { name: "receive", example: "receive = \"auto\"" };
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

pub(super) static FENCE_TABLE: Schema = Schema {
    place: "in [fence]",
    keys: &[
        &PAIR,
        &LEVELS,
        &STRANGERS,
        &COMMAND,
        &OPTIONS_FILE,
        &DISK_HEARTBEAT,
        &WATCHDOG,
        &WATCHDOG_DEVICE,
        &SELF_FENCE,
    ],
};
pub(super) static PAIR: Key = Key { name: "pair", example: "pair = 4711" };
pub(super) static LEVELS: Key = Key { name: "levels", example: "levels = [\"reservation\", \"command\"]" };
pub(super) static STRANGERS: Key = Key { name: "strangers", example: "strangers = \"refuse\"" };
pub(super) static COMMAND: Key = Key { name: "command", example: "command = [\"fence_ipmilan\"]" };
pub(super) static OPTIONS_FILE: Key =
    Key { name: "options_file", example: "options_file = \"fence.options\"" };
pub(super) static DISK_HEARTBEAT: Key = Key { name: "disk_heartbeat", example: "disk_heartbeat = \"200ms\"" };
pub(super) static WATCHDOG: Key = Key { name: "watchdog", example: "watchdog = \"if-present\"" };
pub(super) static WATCHDOG_DEVICE: Key =
    Key { name: "watchdog_device", example: "watchdog_device = \"/dev/watchdog\"" };
pub(super) static SELF_FENCE: Key = Key { name: "self_fence", example: "self_fence = \"reset\"" };

pub(super) static POOL_TABLE: Schema = Schema {
    place: "in [[pool]]",
    keys: &[
        &NAME,
        &GUID,
        &DIRECTORIES,
        &DISKS,
        &MISSING_LOG,
        &KEYS,
        &BUSY,
        &NEEDS,
        &TAKE,
        &RELEASE,
        &ON_FAILURE,
    ],
};
pub(super) static GUID: Key = Key { name: "guid", example: "guid = \"5312087265214137852\"" };
pub(super) static DIRECTORIES: Key =
    Key { name: "directories", example: "directories = [\"/dev/disk/by-id\"]" };
pub(super) static DISKS: Key =
    Key { name: "disks", example: "disks = [\"/dev/disk/by-id/wwn-0x5000c500a1b2c3d4\"]" };
pub(super) static MISSING_LOG: Key = Key { name: "missing_log", example: "missing_log = false" };
pub(super) static KEYS: Key = Key { name: "keys", example: "keys = \"/etc/ha-agent/pool-keys\"" };
pub(super) static BUSY: Key = Key { name: "busy", example: "busy = \"wait\"" };
pub(super) static NEEDS: Key = Key { name: "needs", example: "needs = [\"tank\"]" };
pub(super) static TAKE: Key = Key { name: "take", example: "take = \"60s\"" };
pub(super) static RELEASE: Key = Key { name: "release", example: "release = \"30s\"" };
pub(super) static ON_FAILURE: Key = Key { name: "on_failure", example: "on_failure = \"undo\"" };

pub(super) static MOUNT_TABLE: Schema = Schema {
    place: "in [[mount]]",
    keys: &[&NAME, &DEVICE, &AT, &TYPE, &OPTIONS, &UUID, &DISKS, &BUSY, &NEEDS, &TAKE, &RELEASE, &ON_FAILURE],
};
pub(super) static DEVICE: Key = Key { name: "device", example: "device = \"/dev/disk/by-id/wwn-…-part1\"" };
pub(super) static AT: Key = Key { name: "at", example: "at = \"/srv/data\"" };
pub(super) static TYPE: Key = Key { name: "type", example: "type = \"ext4\"" };
pub(super) static OPTIONS: Key = Key { name: "options", example: "options = \"noatime\"" };
pub(super) static UUID: Key =
    Key { name: "uuid", example: "uuid = \"0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0\"" };

pub(super) static SERVICE_TABLE: Schema = Schema {
    place: "in [[service]]",
    keys: &[
        &NAME,
        &UNITS,
        &START,
        &STOP,
        &CHECK,
        &NFS_STATE,
        &NFS_SCOPE,
        &ISCSI_TARGETS,
        &ISCSI_STATE,
        &NEEDS,
        &REST,
        &TAKE,
        &RELEASE,
        &ON_FAILURE,
    ],
};
pub(super) static UNITS: Key = Key { name: "units", example: "units = [\"nginx.service\"]" };
pub(super) static START: Key = Key { name: "start", example: "start = [\"/usr/local/sbin/export\", \"on\"]" };
pub(super) static STOP: Key = Key { name: "stop", example: "stop = [\"/usr/local/sbin/export\", \"off\"]" };
pub(super) static CHECK: Key =
    Key { name: "check", example: "check = [\"/usr/local/sbin/export\", \"status\"]" };
pub(super) static NFS_STATE: Key = Key { name: "nfs_state", example: "nfs_state = \"/tank/.nfs\"" };
pub(super) static NFS_SCOPE: Key = Key { name: "nfs_scope", example: "nfs_scope = \"pair-1\"" };
pub(super) static ISCSI_TARGETS: Key =
    Key { name: "iscsi_targets", example: "iscsi_targets = \"targets.json\"" };
pub(super) static ISCSI_STATE: Key = Key { name: "iscsi_state", example: "iscsi_state = \"/tank/.iscsi\"" };
pub(super) static REST: Key = Key { name: "rest", example: "rest = true" };

pub(super) static NOTIFY_TABLE: Schema = Schema { place: "in [[notify]]", keys: &[&COMMAND, &ON] };
pub(super) static ON: Key = Key { name: "on", example: "on = [\"role_changed\"]" };

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

pub(super) static SCHEMAS: [&Schema; 12] = [
    &ROOT,
    &AUTH_TABLE,
    &REALTIME_TABLE,
    &PEER_TABLE,
    &WITNESS_TABLE,
    &WEB_TABLE,
    &VHOST_TABLE,
    &FENCE_TABLE,
    &POOL_TABLE,
    &MOUNT_TABLE,
    &SERVICE_TABLE,
    &NOTIFY_TABLE,
];

/// Jaro–Winkler similarity from which a known key is worth a guess.
const NEAR: f64 = 0.8;
