//! Any bytes from whoever connects to the page.

mod answers;
mod said;
mod script;
mod site;

use serde_json::Value;

use self::answers::{Answer, answers};
use self::said::Said;
use self::site::{End, Heard, Site, Who};

/// Says them to the server, in any pieces and with any pauses, and demands that each answer is one; that nothing is told
/// and nothing done without a token, a name or a page that allows it; and that whoever says no more is let go in time.
///
/// The first byte chooses who says it, the second one in which pieces; some of the others stand for more (`script`). Returns
/// the codes of the answers.
///
/// # Panics
///
/// If something does not hold.
#[must_use]
pub fn http(bytes: &[u8]) -> Vec<u16> {
    thread_local! {
        static SITE: Site = Site::start();
    }
    let [who, size, input @ ..] = bytes else { return Vec::new() };
    let who = Who::ALL[usize::from(*who) % Who::ALL.len()];
    SITE.with(|site| {
        let words = site.words(who);
        let steps = script::steps(input, &words);
        let said = Said::new(script::said(&steps), &words);
        let heard = site.visit(who, &steps, usize::from(*size).max(1));
        let answers = answers(&heard.bytes, heard.end != End::Closed);
        answers.iter().for_each(demand_answer);
        demand_orders(who, &said, &heard, &answers);
        demand_secrets(site, who, &said, &heard, &answers);
        // Only whoever looks on may stay.
        if heard.end == End::Late {
            let last = answers.last().expect("an answer");
            assert!(last.code == 200 && last.is(EVENTS), "nothing ends it: {last:?}");
        }
        answers.iter().map(|answer| answer.code).collect()
    })
}

/// It tells browsers what not to do, or says nothing: then it is the parser's. What is said is of the kind that is announced.
fn demand_answer(answer: &Answer) {
    let is_hardened =
        answer.header("content-security-policy").is_some_and(|it| it.contains("default-src 'none'"))
            && answer.header("x-content-type-options") == Some("nosniff")
            && answer.header("cache-control").is_some();
    assert!(is_hardened || answer.body.is_empty() && !(200..400).contains(&answer.code), "{answer:?}");
    let demand_json = |text: &[u8]| drop(serde_json::from_slice::<Value>(text).expect("JSON"));
    if !answer.is_whole || answer.body.is_empty() {
        return;
    }
    if answer.is("application/json") {
        demand_json(&answer.body);
    } else if answer.is(ORDERED) {
        answer.body.split_inclusive(|byte| *byte == b'\n').for_each(demand_json);
    } else if answer.is(EVENTS) {
        panic!("the end of what has none: {answer:?}");
    }
}

/// No more is done than was well ordered, and all that is done is told.
fn demand_orders(who: Who, said: &Said<'_>, heard: &Heard, answers: &[Answer]) {
    assert_eq!(heard.others, 0);
    let most = match who {
        Who::Stranger | Who::Neighbour | Who::Reader => 0,
        Who::Friend => said.orders(said.tokens() + said.cookies(), said.tokens()),
        Who::Proxied => said.orders(said.names(), 0),
    };
    assert!(heard.failovers <= most, "{} orders, not {most}", heard.failovers);
    if heard.failovers == 1 && said.is_one_request() {
        assert!(said.is_from_own_page() || who == Who::Friend && said.is_from_no_page());
    }
    let told = answers.iter().filter(|answer| answer.is(ORDERED)).count();
    match heard.end {
        End::Closed => assert_eq!(told, heard.failovers),
        End::Late | End::Left => assert!(told <= heard.failovers),
    }
}

/// The status is told to those who may look, a session is given to those who said the token, and the token is told to nobody.
fn demand_secrets(site: &Site, who: Who, said: &Said<'_>, heard: &Heard, answers: &[Answer]) {
    let tells = |secret: &[u8]| heard.bytes.windows(secret.len()).any(|found| found == secret);
    let may_look = match who {
        Who::Stranger => false,
        Who::Neighbour => said.names_loopback(),
        Who::Friend | Who::Reader => said.tokens() + said.cookies() > 0,
        Who::Proxied => said.names() > 0,
    };
    assert!(may_look || !tells(site.node().as_bytes()), "the status is told");
    let is_session = |cookie: &str| !cookie.contains("Max-Age=0;");
    let sessions =
        answers.iter().filter(|answer| answer.header("set-cookie").is_some_and(is_session)).count();
    let logins = if who.knows_token() { said.tokens().min(said.logins()) } else { 0 };
    assert!(sessions <= logins, "a session for nothing");
    if sessions == 1 && said.is_one_request() {
        assert!(said.is_from_own_page(), "a session for another page");
    }
    // What was said may be quoted.
    assert!(said.tokens() > 0 || !tells(site.token()), "the token is told");
}

const EVENTS: &str = "text/event-stream";
const ORDERED: &str = "application/x-ndjson";
