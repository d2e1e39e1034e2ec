//! What was seen on the wire: `ucarp` in the lab (CARP specification, appendix B).

use super::*;

type Line = (u64, u8, (u8, u8), u64);

/// Hears a capture, and returns who was suspicious when and of what.
fn play(lines: &[Line]) -> Vec<(u64, u8, Vec<&'static str>)> {
    let mut observer = Observer::default();
    lines
        .iter()
        .map(|&(at, host, priority, counter)| {
            observer.now = at;
            (at, host, observer.hear([10, 9, 0, host].into(), priority, counter))
        })
        .filter(|(.., names)| !names.is_empty())
        .collect()
}

#[test]
fn a_failover_and_the_way_back_are_normal() {
    assert_eq!(play(PAIR_FAILOVER), []);
}

#[test]
fn two_masters_after_a_healed_partition_are_normal() {
    assert_eq!(play(CLASH), []);
}

#[test]
fn a_rewritten_frame_from_a_third_source_is_told() {
    let forged = |at| (at, 3, vec!["two_sources", "sudden_priority"]);
    assert_eq!(play(DEPOSE_MASTER), [3035, 4036, 5036, 6037, 7038, 8039].map(forged));
}

#[test]
fn a_forged_goodbye_from_a_third_source_is_told() {
    let found = play(BOW_OUT_SPOOF);
    for at in [6007, 7008, 8008] {
        assert!(found.contains(&(at, 3, vec!["two_sources", "sudden_priority"])), "{at}: {found:?}");
    }
    // In the mess that follows, those who take up a replayed counter repeat each other.
    for (at, host, names) in &found {
        assert!(*at >= 6007, "{at}");
        assert!(*host == 3 || !names.contains(&"sudden_priority"), "{at} {host} {names:?}");
    }
}

#[test]
fn a_replay_by_the_dead_master_s_name_is_told() {
    let expected: Vec<_> = REPLAY_STARVE[3..15].iter().map(|line| (line.0, 1, vec!["repeated"])).collect();
    assert_eq!(expected.len(), 12);
    assert_eq!(play(REPLAY_STARVE), expected);
}

/// `t4_pair_failover.pcap`
const PAIR_FAILOVER: &[Line] = &[
    (0, 1, (1, 0), 0x5c9f_b6a9_d9d2_4243),
    (991, 1, (1, 0), 0x02ba_abec_3040_94ff),
    (1991, 1, (1, 0), 0x92c8_b527_5e33_a5e6),
    (2992, 1, (1, 0), 0x3025_f9c7_30b5_882b),
    (3991, 1, (1, 0), 0x5137_c004_a4f2_e059),
    (4992, 1, (1, 0), 0x7b03_1b6e_ee36_ecc4),
    (5993, 1, (1, 0), 0xa00e_ca74_45a2_6f62),
    (10557, 2, (1, 50), 0xa00e_ca74_45a2_6f63),
    (11739, 2, (1, 50), 0xa00e_ca74_45a2_6f64),
    (12935, 2, (1, 50), 0xa00e_ca74_45a2_6f65),
    (14131, 2, (1, 50), 0xa00e_ca74_45a2_6f66),
    (15327, 2, (1, 50), 0xa00e_ca74_45a2_6f67),
    (16527, 2, (1, 50), 0xa00e_ca74_45a2_6f68),
    (17723, 2, (1, 50), 0xa00e_ca74_45a2_6f69),
    (18919, 2, (1, 50), 0xa00e_ca74_45a2_6f6a),
    (20122, 2, (1, 50), 0xa00e_ca74_45a2_6f6b),
    (21100, 1, (1, 0), 0xa00e_ca74_45a2_6f6c),
    (21328, 2, (1, 50), 0xa00e_ca74_45a2_6f6c),
    (21927, 2, (1, 50), 0xa00e_ca74_45a2_6f6d),
    (22049, 1, (1, 0), 0xa00e_ca74_45a2_6f6e),
    (23048, 1, (1, 0), 0xa00e_ca74_45a2_6f6f),
    (24051, 1, (1, 0), 0xa00e_ca74_45a2_6f70),
];

/// `t5a_clash_skew.pcap`
const CLASH: &[Line] = &[
    (0, 1, (1, 0), 0xc5b0_8850_1308_095a),
    (992, 1, (1, 0), 0x51bc_a9e0_eb82_0504),
    (1992, 1, (1, 0), 0x3aab_c013_907f_d216),
    (2980, 2, (1, 50), 0x9bd0_9d97_852a_b603),
    (2991, 1, (1, 0), 0x35d1_6faf_b5da_327d),
    (3968, 2, (1, 50), 0x35d1_6faf_b5da_327e),
    (3991, 1, (1, 0), 0x9bd0_9d97_852a_b604),
    (4996, 1, (1, 0), 0x35d1_6faf_b5da_327f),
    (5997, 1, (1, 0), 0x35d1_6faf_b5da_3280),
    (6997, 1, (1, 0), 0x35d1_6faf_b5da_3281),
    (7998, 1, (1, 0), 0x35d1_6faf_b5da_3282),
];

/// `t9a_depose_master.pcap`
const DEPOSE_MASTER: &[Line] = &[
    (0, 1, (1, 10), 0x90aa_7b15_2217_2b4d),
    (1035, 1, (1, 10), 0x9b26_0140_4b62_eff6),
    (2074, 1, (1, 10), 0xf155_386d_a6fe_424c),
    (3035, 3, (0, 0), 0x90aa_7b15_2217_2b4d),
    (3114, 1, (1, 10), 0x1f0a_3416_840f_31d4),
    (3854, 1, (1, 10), 0x90aa_7b15_2217_2b4e),
    (4036, 3, (0, 0), 0x90aa_7b15_2217_2b4d),
    (5036, 3, (0, 0), 0x90aa_7b15_2217_2b4d),
    (6037, 3, (0, 0), 0x90aa_7b15_2217_2b4d),
    (7038, 3, (0, 0), 0x90aa_7b15_2217_2b4d),
    (8039, 3, (0, 0), 0x90aa_7b15_2217_2b4d),
];

/// `t9b_bowout_spoof.pcap`
const BOW_OUT_SPOOF: &[Line] = &[
    (0, 1, (1, 10), 0xcb6b_3b49_eb3b_5b80),
    (1040, 1, (1, 10), 0xd689_0728_8886_fb7a),
    (2080, 1, (1, 10), 0x87f5_1da4_c9cb_c235),
    (3119, 1, (1, 10), 0xc35d_2c18_f46b_9f89),
    (4158, 1, (1, 10), 0x071d_c570_c960_b766),
    (5198, 1, (1, 10), 0x1749_6442_9009_f9ce),
    (6007, 3, (255, 255), 0xcb6b_3b49_eb3b_5b80),
    (6238, 1, (1, 10), 0x32fd_bb3f_dd41_3ff1),
    (6860, 2, (1, 60), 0xcb6b_3b49_eb3b_5b81),
    (6860, 2, (1, 60), 0x32fd_bb3f_dd41_3ff2),
    (7008, 3, (255, 255), 0xcb6b_3b49_eb3b_5b80),
    (7278, 1, (1, 10), 0xcb6b_3b49_eb3b_5b81),
    (7864, 2, (1, 60), 0xcb6b_3b49_eb3b_5b81),
    (7864, 2, (1, 60), 0xcb6b_3b49_eb3b_5b82),
    (8008, 3, (255, 255), 0xcb6b_3b49_eb3b_5b80),
    (8317, 1, (1, 10), 0xcb6b_3b49_eb3b_5b81),
    (8860, 2, (1, 60), 0xcb6b_3b49_eb3b_5b81),
    (8860, 2, (1, 60), 0xcb6b_3b49_eb3b_5b82),
    (9356, 1, (1, 10), 0xcb6b_3b49_eb3b_5b81),
    (10395, 1, (1, 10), 0xcb6b_3b49_eb3b_5b83),
    (11434, 1, (1, 10), 0xcb6b_3b49_eb3b_5b84),
    (12473, 1, (1, 10), 0xcb6b_3b49_eb3b_5b85),
    (13513, 1, (1, 10), 0xcb6b_3b49_eb3b_5b86),
];

/// `t9c_replay_starve.pcap`
const REPLAY_STARVE: &[Line] = &[
    (0, 1, (1, 10), 0xa8ca_2a69_58ac_74c8),
    (1035, 1, (1, 10), 0xea22_8b4f_eda7_bc2a),
    (2074, 1, (1, 10), 0xfb25_65f3_1e44_0a7f),
    (3087, 1, (1, 10), 0xa8ca_2a69_58ac_74c8),
    (4087, 1, (1, 10), 0xa8ca_2a69_58ac_74c8),
    (5087, 1, (1, 10), 0xa8ca_2a69_58ac_74c8),
    (6089, 1, (1, 10), 0xa8ca_2a69_58ac_74c8),
    (7090, 1, (1, 10), 0xa8ca_2a69_58ac_74c8),
    (8090, 1, (1, 10), 0xa8ca_2a69_58ac_74c8),
    (9091, 1, (1, 10), 0xa8ca_2a69_58ac_74c8),
    (10092, 1, (1, 10), 0xa8ca_2a69_58ac_74c8),
    (11092, 1, (1, 10), 0xa8ca_2a69_58ac_74c8),
    (12093, 1, (1, 10), 0xa8ca_2a69_58ac_74c8),
    (13093, 1, (1, 10), 0xa8ca_2a69_58ac_74c8),
    (14094, 1, (1, 10), 0xa8ca_2a69_58ac_74c8),
    (18615, 2, (1, 60), 0xa8ca_2a69_58ac_74c9),
    (19842, 2, (1, 60), 0xa8ca_2a69_58ac_74ca),
    (21078, 2, (1, 60), 0xa8ca_2a69_58ac_74cb),
];
