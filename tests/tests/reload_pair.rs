//! Reloads of the nodes of a pair: the active one stays it, whatever comes and goes.

use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use lab::introduction::{Linked, introduce};
use lab::pair::VIRTUAL;
use lab::paired::{paired, phase, settled, takes, until};
use lab::{Agent, AgentConfig};

#[test]
fn virtual_hosts_and_addresses_come_and_go() -> Result<()> {
    let Some(lab) = paired("relpair")? else { return Ok(()) };
    let Linked { a, b, .. } = &lab;
    let marks = [a.mark(), b.mark()];
    let first = [fs::read_to_string(a.config())?, fs::read_to_string(b.config())?];
    let more = format!(
        "[[vhost]]\nname = \"more\"\ninterface = \"eth0\"\nvhid = 11\naddresses = [\"{MORE}/24\"]\ninterval = \"10ms\"\n"
    );
    let addressed =
        |text: &str| text.replace(&format!("\"{VIRTUAL}/24\""), &format!("\"{VIRTUAL}/24\", \"{OTHER}/24\""));
    let [of_a, of_b] = &first;
    let rounds = [
        ([addressed(of_a), addressed(of_b)], [true, false]),
        ([addressed(of_a) + &more, addressed(of_b) + &more], [true, true]),
        ([of_a.clone() + &more, of_b.clone() + &more], [false, true]),
        (first.clone(), [false, false]),
    ];
    for (round, (texts, there)) in rounds.into_iter().enumerate() {
        let mut both = [(a, &texts[0]), (b, &texts[1])];
        if round % 2 == 1 {
            both.reverse();
        }
        for (agent, text) in both {
            fs::write(agent.config(), text)?;
            agent.tell("reload")?;
            // Longer than anybody waits for anybody.
            thread::sleep(Duration::from_millis(700));
        }
        settled(a, b)?;
        for (address, wanted) in [OTHER, MORE].into_iter().zip(there) {
            until("the addresses", || Ok(lab.pair.a.has_address(address)? == wanted))?;
            ensure!(!lab.pair.b.has_address(address)?, "{address} is on the standby");
        }
        ensure!(lab.pair.a.has_address(VIRTUAL)? && phase(a)? == "active", "not active after round {round}");
    }
    undisturbed(a, marks[0])?;
    undisturbed(b, marks[1])
}

#[test]
fn what_is_shared_changes_on_both_without_a_failover() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let configs = Linked::configs().map(|config| AgentConfig { shared: Some(TEXT.to_owned()), ..config });
    let lab = Linked::start_with("relshare", &[99], configs)?;
    introduce((&lab.pair.a, &lab.a), (&lab.pair.b, &lab.b))?;
    let Linked { a, b, .. } = &lab;
    settled(a, b)?;
    let marks = [a.mark(), b.mark()];
    for (agent, addresses) in [(a, vec![VIRTUAL, OTHER]), (b, vec![OTHER, VIRTUAL, MORE]), (a, vec![VIRTUAL])]
    {
        let list: Vec<_> = addresses.iter().map(|ip| format!("{ip}/24")).collect();
        let file = agent.shared().with_file_name("new.toml");
        fs::write(&file, TEXT.replace("[\"10.77.0.100/24\"]", &format!("{list:?}")))?;
        let mut apply = Command::new(lab::agent_binary()?);
        apply.args(["config", "apply"]).arg(file).arg("--control").arg(agent.socket());
        let output = apply.output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        settled(a, b)?;
        for address in [VIRTUAL, OTHER, MORE] {
            let wanted = addresses.contains(&address);
            until("the addresses", || Ok(lab.pair.a.has_address(address)? == wanted))?;
        }
    }
    undisturbed(a, marks[0])?;
    undisturbed(b, marks[1])
}

fn undisturbed(agent: &Agent, mark: usize) -> Result<()> {
    let mut changes = agent.changes(mark);
    changes.retain(|line| line.contains("vhost=\"data\""));
    ensure!(changes.is_empty() && takes(agent, mark) == 0, "{changes:#?}");
    ensure!(agent.refused(&["badauth"])? == 0, "{:#}", agent.vhost()?);
    Ok(())
}

const MORE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 101);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 102);
const TEXT: &str = r#"[[vhost]]
name = "data"
vhid = 10
addresses = ["10.77.0.100/24"]
interval = "10ms"
detect = 3
"#;
