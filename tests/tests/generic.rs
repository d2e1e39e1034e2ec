//! An interface whose driver runs no XDP program: a bridge.

use anyhow::{Result, ensure};
use lab::pair::{A, B};
use lab::pauses::undisturbed;
use lab::{Agent, AgentConfig, Pair};

#[test]
fn a_driver_without_xdp_is_served_in_the_generic_path_with_a_warning() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    undisturbed(|| {
        let pair = Pair::new("generic")?;
        for command in [
            "link add br1 type bridge mcast_snooping 0",
            "address flush dev eth0",
            "link set eth0 master br1",
            "link set br1 up",
            "address add 10.77.0.2/24 dev br1",
        ] {
            pair.b.netns.ip(command)?;
        }
        let config = |advskew| AgentConfig { advskew, detect: Some(5), ..AgentConfig::default() };
        let mut native = Agent::start(&pair.a, &config(0))?;
        native.wait_for_state(0, "MASTER")?;

        let toml = config(100).toml("b").replace("\"eth0\"", "\"br1\"");
        let generic = Agent::launch(&pair.b, &toml, &config(100).passphrases[0])?;
        generic.wait_for_state(0, "BACKUP")?;
        pair.only_master(A, 20)?;
        let warned =
            generic.process.lines().iter().any(|line| line.contains("WARN") && line.contains("generic"));
        ensure!(warned, "no warning: {:#?}", generic.process.lines());
        let vhost = generic.vhost()?;
        ensure!(vhost["receive"] == "generic", "{vhost:#}");
        ensure!(vhost["accepted"].as_u64() > Some(10), "{vhost:#}");
        ensure!(native.vhost()?["receive"] == "native", "{:#}", native.vhost()?);

        native.kill()?;
        generic.wait_for_state(0, "MASTER")?;
        pair.only_master(B, 20)?;
        ensure!(pair.b.netns.ip_json("address show dev br1")?.to_string().contains("10.77.0.100"));
        Ok(())
    })
}
