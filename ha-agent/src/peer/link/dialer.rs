//! Dials one of the peer's addresses, for as long as no connection stands there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::Shared;
use super::connection::{self, Greeted};
use super::keeper::Credentials;
use super::status::Condition;

/// Dials for ever.
pub(super) async fn run(shared: Arc<Shared>, address: SocketAddr) {
    let mut credentials = shared.credentials.clone();
    let mut status = shared.status.subscribe();
    let mut pause = SHORTEST_PAUSE;
    loop {
        let Ok(current) = credentials.wait_for(Option::is_some).await.map(|current| current.clone()) else {
            return;
        };
        let Some(current) = current else { continue };
        if is_taken(&shared, address) {
            // The peer has dialed: nothing to do before that is over. Not asked under the status's lock, which is
            // taken under that of the paths.
            while is_taken(&shared, address) {
                if status.changed().await.is_err() {
                    return;
                }
            }
            // Whoever was replaced should be so on the other node, too.
            sleep(SHORTEST_PAUSE).await;
            continue;
        }
        match dial(&shared, current, address).await {
            Ok(greeted) => {
                pause = SHORTEST_PAUSE;
                greeted.run(&shared).await;
            }
            Err(condition) => {
                shared.update(|paths| paths.fail(address, condition));
            }
        }
        tokio::select! {
            () = sleep(pause) => {}
            // There is something new to try with.
            _ = credentials.changed() => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn dial(
    shared: &Shared,
    credentials: Arc<Credentials>,
    address: SocketAddr,
) -> Result<Greeted, Condition> {
    let down = |why: String| Condition::Down { why };
    let stream = match timeout(PATIENCE, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(down(error.to_string())),
        Err(_) => return Err(down("nobody answers at this address".to_owned())),
    };
    let is_ours = true;
    match timeout(PATIENCE, connection::greet(shared, credentials, stream, address, is_ours)).await {
        Ok(Ok(greeted)) => Ok(greeted),
        Ok(Err(end)) => Err(down(end.to_string())),
        // Its kernel has accepted the connection: so TCP looks up.
        Err(_) => Err(Condition::NotAnswering { heard: None }),
    }
}

/// Looked up where it is changed: the status is shown a moment later.
fn is_taken(shared: &Shared, address: SocketAddr) -> bool {
    let paths = shared.paths.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    paths.is_taken(address)
}

/// How long the peer's kernel may take to accept, and then its agent to say who it is.
const PATIENCE: Duration = Duration::from_secs(2);
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
