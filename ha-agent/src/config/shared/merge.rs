//! Makes one configuration of a node's own file and what it shares. Each key has one home.

use std::collections::HashMap;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::TEXT_LIMIT;
use crate::config::document::Document;
use crate::config::error::ConfigError;
use crate::config::mistake::Mistake;
use crate::config::quote::{Excerpt, OneLine};
use crate::config::schema::{self, Schema};
use crate::config::table::Table;
use crate::config::value;

/// Puts `text`, which is shared and called `name` in mistakes, into the tree of a node's own file.
pub(in crate::config) fn merge<'a>(
    document: &mut Document<'a>,
    own: &mut DeTable<'a>,
    name: &'a Path,
    text: &'a str,
) -> Result<(), ConfigError> {
    let length = text.len();
    if length > TEXT_LIMIT {
        return Err(ConfigError::new(name, None, Mistake::SharedTooLarge { length }));
    }
    let mut shared = document.share(name, text)?;
    check_shared(document, &shared)?;
    let auth = shared.remove(schema::AUTH.name);
    if let Some(own) = own.get_mut(schema::AUTH.name) {
        let auth = auth.map(Spanned::into_inner);
        move_keys(document, &schema::AUTH_TABLE, own, auth.and_then(into_table).unwrap_or_default())?;
    }
    let shared = named(document, shared.remove(schema::VHOST.name))?;
    merge_vhosts(document, own, shared)
}

/// A virtual host of what is shared.
struct Vhost<'a> {
    /// The byte offset of its header.
    start: usize,
    entries: DeTable<'a>,
}

/// Refuses what is unknown, and what can't be shared.
fn check_shared(document: &Document<'_>, shared: &DeTable<'_>) -> Result<(), ConfigError> {
    check_keys(document, &schema::ROOT, &schema::SHARED_ROOT, shared)?;
    let root = Table::new(document, &schema::SHARED_ROOT, &Spanned::new(0..0, shared))?;
    if let Some(auth) = root.optional::<&DeTable<'_>>(&schema::AUTH)? {
        check_keys(document, &schema::AUTH_TABLE, &schema::SHARED_AUTH, auth.get_ref())?;
    }
    for vhost in root.elements::<&DeTable<'_>>(&schema::VHOST)?.map(Spanned::into_inner).unwrap_or_default() {
        check_keys(document, &schema::VHOST_TABLE, &schema::SHARED_VHOST, vhost.get_ref())?;
    }
    Ok(())
}

/// A key that a node's own table may have, and the shared one not, belongs into the own one.
fn check_keys(
    document: &Document<'_>,
    own: &'static Schema,
    shared: &'static Schema,
    table: &DeTable<'_>,
) -> Result<(), ConfigError> {
    let wrong = table.keys().filter(|key| !shared.has(key.get_ref())).min_by_key(|key| key.span().start);
    let Some(key) = wrong else { return Ok(()) };
    let mistake = if own.has(key.get_ref()) {
        let (place, home) = (shared.place, own.place);
        Mistake::NotToBeShared { key: Excerpt::new(key.get_ref()), place, home }
    } else {
        shared.refuse(key.get_ref())
    };
    Err(document.error(key.span().start, mistake))
}

/// Puts shared keys into a table of the own file, which must have none of those that are to be shared.
fn move_keys<'a>(
    document: &Document<'a>,
    schema: &'static Schema,
    own: &mut Spanned<DeValue<'a>>,
    shared: DeTable<'a>,
) -> Result<(), ConfigError> {
    // If it is no table, whoever reads it says so.
    let DeValue::Table(own) = own.get_mut() else { return Ok(()) };
    let here = own.keys().filter(|key| schema::is_shared(key.get_ref())).min_by_key(|key| key.span().start);
    if let Some(key) = here {
        let (at, place, name) = (key.span().start, schema.place, Excerpt::new(key.get_ref()));
        let there = shared.keys().find(|there| there.get_ref() == key.get_ref());
        let mistake = match there {
            Some(there) => Mistake::InBoth { key: name, place, line: document.line(there.span().start, at) },
            None => Mistake::ToBeShared { key: name, place },
        };
        return Err(document.error(at, mistake));
    }
    for (key, value) in shared {
        own.entry(key).or_insert(value);
    }
    Ok(())
}

/// The shared virtual hosts by their names.
fn named<'a>(
    document: &Document<'a>,
    vhosts: Option<Spanned<DeValue<'a>>>,
) -> Result<HashMap<String, Vhost<'a>>, ConfigError> {
    let mut named = HashMap::new();
    let Some(DeValue::Array(vhosts)) = vhosts.map(Spanned::into_inner) else { return Ok(named) };
    for vhost in vhosts {
        let start = vhost.span().start;
        let Some(entries) = into_table(vhost.into_inner()) else { continue };
        let table = Table::new(document, &schema::SHARED_VHOST, &Spanned::new(start..start, &entries))?;
        let name = table.text(&schema::NAME, |text| value::name("name", text))?;
        let (at, name) = (name.span().start, name.into_inner());
        if let Some(other) = named.get(&name).map(|other: &Vhost<'_>| other.start) {
            return Err(document.error(at, Mistake::NameTaken { line: document.line(other, at), name }));
        }
        named.insert(name, Vhost { start, entries });
    }
    Ok(named)
}

/// Each of the one side needs one of the other.
fn merge_vhosts<'a>(
    document: &mut Document<'a>,
    own: &mut DeTable<'a>,
    mut shared: HashMap<String, Vhost<'a>>,
) -> Result<(), ConfigError> {
    let mut done: HashMap<String, usize> = HashMap::new();
    let vhosts = own.get_mut(schema::VHOST.name).map(Spanned::get_mut);
    let vhosts =
        vhosts.and_then(|vhosts| if let DeValue::Array(vhosts) = vhosts { Some(vhosts) } else { None });
    for vhost in vhosts.into_iter().flat_map(|vhosts| vhosts.iter_mut()) {
        let start = vhost.span().start;
        let Some(entries) = vhost.get_ref().as_table() else { continue };
        let table = Table::new(document, &schema::VHOST_TABLE, &Spanned::new(start..start, entries))?;
        let name = table.text(&schema::NAME, |text| value::name("name", text))?;
        let (at, name) = (name.span().start, name.into_inner());
        if let Some(other) = done.insert(name.clone(), start) {
            return Err(document.error(at, Mistake::NameTaken { line: document.line(other, at), name }));
        }
        let Some(twin) = shared.remove(&name) else {
            return Err(document.error(at, Mistake::NotInShared { name }));
        };
        move_keys(document, &schema::VHOST_TABLE, vhost, twin.entries)?;
        document.merge(start, twin.start);
    }
    match shared.into_iter().min_by_key(|(_, vhost)| vhost.start) {
        Some((name, Vhost { start, .. })) => {
            let own = OneLine(&document.own_path().to_string_lossy()).to_string();
            Err(document.error(start, Mistake::OnlyInShared { name, own }))
        }
        None => Ok(()),
    }
}

fn into_table(value: DeValue<'_>) -> Option<DeTable<'_>> {
    if let DeValue::Table(table) = value { Some(table) } else { None }
}
