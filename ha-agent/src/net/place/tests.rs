use super::Stage::{Any, Generic};
use super::*;

fn interface(index: u32, name: &str, kind: Kind, controller: Option<u32>) -> Interface {
    Interface {
        index,
        name: name.to_owned(),
        altnames: vec![format!("alt-{name}")],
        kind,
        controller,
        hardware: [2, 0, 0, 0, 0, 1],
        mtu: 1500,
        up: true,
        running: true,
        program: None,
        alias: None,
        addresses: Vec::new(),
    }
}

/// Everything at once.
fn machine() -> Interfaces {
    let q = |parent, id| Kind::Vlan { parent: Some(parent), id, tag: Tag::Dot1Q };
    let ad = |parent, id| Kind::Vlan { parent: Some(parent), id, tag: Tag::Dot1Ad };
    let table: [(u32, &str, Kind, Option<u32>); 28] = [
        (1, "lo", Kind::Plain, None),
        (2, "eth0", Kind::Plain, None),
        (3, "eth0.5", q(2, 5), None),
        (4, "eth0.10", ad(2, 10), None),
        (5, "eth0.10.5", q(4, 5), None),
        (6, "eth0.10.5.7", q(5, 7), None),
        (7, "eth0.5.8", ad(3, 8), None),
        (8, "eth0.0", q(2, 0), None),
        (9, "eth0.0.9", q(8, 9), None),
        (10, "bond0", Kind::Bond, None),
        (11, "eth1", Kind::Plain, Some(10)),
        (12, "eth2", Kind::Plain, Some(10)),
        (13, "bond0.6", q(10, 6), None),
        (14, "bond0.6.7", q(13, 7), None),
        (15, "bond1", Kind::Bond, None),
        (16, "br0", Kind::Bridge, None),
        (17, "eth3", Kind::Plain, Some(16)),
        (18, "br0.5", q(16, 5), None),
        (19, "team0", Kind::Team, None),
        (20, "eth4", Kind::Plain, Some(19)),
        (21, "mac0", Kind::Macvlan { parent: Some(2) }, None),
        (22, "mac0.5", q(21, 5), None),
        (23, "guest.5", Kind::Vlan { parent: None, id: 5, tag: Tag::Dot1Q }, None),
        // Its parent is not, or not yet, among the interfaces.
        (24, "stray.5", q(99, 5), None),
        (25, "vrf0", Kind::Plain, None),
        (26, "eth5", Kind::Plain, Some(25)),
        (27, "eth0.5.6", q(3, 6), None),
        (28, "guest.5.6", q(23, 6), None),
    ];
    table
        .into_iter()
        .map(|(index, name, kind, controller)| interface(index, name, kind, controller))
        .collect()
}

#[test]
fn attaches_where_frames_are_as_they_were_sent() {
    let machine = machine();
    for (name, at, instead, sentence) in PLACES {
        let place = place(&machine, name).unwrap();
        let spot = &place.at;
        let found = (spot.interface.as_str(), spot.index, spot.outer_vlan, spot.vlan, spot.stage);
        assert_eq!(found, at, "{name}");
        let other = place.instead.as_ref();
        assert_eq!(other.map(|spot| spot.interface.as_str()), instead, "{name}");
        // There, frames have no tags and name their own interface.
        assert!(
            other.is_none_or(|spot| (spot.outer_vlan, spot.vlan, spot.stage) == (0, 0, Generic)),
            "{name}"
        );
        assert_eq!(place.to_string(), sentence, "{name}");
    }
}

#[test]
fn a_vlan_whose_parent_is_out_of_sight_is_attached_to_itself() {
    for name in ["guest.5", "stray.5"] {
        let place = place(&machine(), name).unwrap();
        assert_eq!((place.at.interface.as_str(), place.at.vlan, place.at.stage), (name, 0, Generic));
        assert_eq!(place.instead, None);
    }
}

#[test]
fn refuses_what_can_not_work() {
    let owned = str::to_owned;
    let port = |port, controller| PlaceError::Port { port: owned(port), controller: owned(controller) };
    let table = [
        ("eth9", PlaceError::NoInterface(owned("eth9")), "`ip link` lists"),
        ("eth1", port("eth1", "bond0"), "configure bond0"),
        ("eth3", port("eth3", "br0"), "configure br0"),
        ("eth4", port("eth4", "team0"), "configure team0"),
        ("eth0.10.5.7", PlaceError::ThreeTags(owned("eth0.10.5.7")), "two tags are understood"),
        ("eth0.5.8", PlaceError::InnerDot1Ad(owned("eth0.5.8")), "`protocol 802.1Q`"),
        ("eth0.0", PlaceError::VlanZero(owned("eth0.0")), "means no VLAN"),
        ("eth0.0.9", PlaceError::VlanZero(owned("eth0.0.9")), "means no VLAN"),
    ];
    for (name, expected, sentence) in table {
        let error = place(&machine(), name).unwrap_err();
        assert_eq!(error, expected);
        assert!(error.to_string().contains(sentence), "{error}");
    }
}

#[test]
fn says_how_tags_stay_on() {
    let machine = machine();
    let stripped = |name, strips: &[&str]| {
        let place = place(&machine, name).unwrap();
        place.stripped(|interface| strips.contains(&interface)).map(|told| told.to_string())
    };
    let told = stripped("eth0.10.5", &["eth0"]).expect("its tags are taken off");
    assert!(told.ends_with("with `ethtool -K eth0 rxvlan off`"), "{told}");
    assert_eq!(stripped("eth0.10.5", &["eth1"]), None);
    // Where no tags are looked at, nobody can take them off.
    for name in ["eth0", "bond0", "bond0.6", "br0.5", "guest.5"] {
        assert_eq!(stripped(name, &["eth0", "bond0", "eth1", "br0", "br0.5", "guest.5"]), None, "{name}");
    }
}

/// The interface; where it is attached, with its index, the outer VLAN, the VLAN and how; where else; and the
/// sentence.
type Row = (&'static str, (&'static str, u32, u16, u16, Stage), Option<&'static str>, &'static str);

const PLACES: [Row; 17] = [
    ("eth0", ("eth0", 2, 0, 0, Any), None, "attaches to eth0 itself"),
    ("alt-eth0", ("eth0", 2, 0, 0, Any), None, "attaches to eth0 itself"),
    ("eth5", ("eth5", 26, 0, 0, Any), None, "attaches to eth5 itself"),
    (
        "eth0.5",
        ("eth0", 2, 0, 5, Any),
        Some("eth0.5"),
        "eth0.5 is VLAN 5 of eth0: attaches to eth0, where frames still carry their tags",
    ),
    (
        "eth0.10",
        ("eth0", 2, 0, 10, Any),
        Some("eth0.10"),
        "eth0.10 is VLAN 10 of eth0: attaches to eth0, where frames still carry their tags",
    ),
    (
        "eth0.10.5",
        ("eth0", 2, 10, 5, Any),
        Some("eth0.10.5"),
        "eth0.10.5 is VLAN 5 within VLAN 10 of eth0: attaches to eth0, where frames still carry their tags",
    ),
    (
        "eth0.5.6",
        ("eth0", 2, 5, 6, Any),
        Some("eth0.5.6"),
        "eth0.5.6 is VLAN 6 within VLAN 5 of eth0: attaches to eth0, where frames still carry their tags",
    ),
    (
        "bond0",
        ("bond0", 10, 0, 0, Generic),
        None,
        "bond0 is a bond: attaches to bond0 itself, in the generic path",
    ),
    (
        "bond1",
        ("bond1", 15, 0, 0, Generic),
        None,
        "bond1 is a bond: attaches to bond1 itself, in the generic path",
    ),
    (
        "bond0.6",
        ("bond0.6", 13, 0, 0, Generic),
        None,
        "bond0.6 is VLAN 6 of bond0, which takes the tags off: attaches to bond0.6 itself, in the generic path",
    ),
    (
        "bond0.6.7",
        ("bond0.6.7", 14, 0, 0, Generic),
        None,
        "bond0.6.7 is VLAN 7 within VLAN 6 of bond0, which takes the tags off: attaches to bond0.6.7 itself, in \
         the generic path",
    ),
    ("br0", ("br0", 16, 0, 0, Generic), None, "br0 is a bridge: attaches to br0 itself, in the generic path"),
    (
        "team0",
        ("team0", 19, 0, 0, Generic),
        None,
        "team0 is a team: attaches to team0 itself, in the generic path",
    ),
    (
        "mac0",
        ("mac0", 21, 0, 0, Generic),
        None,
        "mac0 is a macvlan: attaches to mac0 itself, in the generic path",
    ),
    (
        "br0.5",
        ("br0.5", 18, 0, 0, Generic),
        None,
        "br0.5 is VLAN 5 of br0, which takes the tags off: attaches to br0.5 itself, in the generic path",
    ),
    (
        "mac0.5",
        ("mac0.5", 22, 0, 0, Generic),
        None,
        "mac0.5 is VLAN 5 of mac0, which takes the tags off: attaches to mac0.5 itself, in the generic path",
    ),
    (
        "guest.5.6",
        ("guest.5.6", 28, 0, 0, Generic),
        None,
        "guest.5.6 is a VLAN of an interface in another network namespace: attaches to guest.5.6 itself, in the \
         generic path",
    ),
];
