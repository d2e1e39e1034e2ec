//! The table `[[service]]`.

use std::time::Duration;

use toml::Spanned;

use super::super::document::Document;
use super::super::error::ConfigError;
use super::super::mistake::Mistake;
use super::super::schema;
use super::super::table::Table;
use super::place::Names;
use super::{ServiceConfig, ServiceKind, absolute, command, file, word};

/// What the table says.
pub(super) fn read(
    document: &Document<'_>,
    table: &Table<'_>,
    names: &mut Names,
) -> Result<ServiceConfig, ConfigError> {
    let place = names.read(document, table, TAKE)?;
    let units = table.list(&schema::UNITS, |text| word(&schema::UNITS, text))?;
    let start = command(table, &schema::START)?;
    let stop = command(table, &schema::STOP)?;
    let check = command(table, &schema::CHECK)?;
    let path = |key| table.optional_text(key, |text| absolute(key, text));
    let (nfs_state, iscsi_state) = (path(&schema::NFS_STATE)?, path(&schema::ISCSI_STATE)?);
    let scope = table.optional_text(&schema::NFS_SCOPE, |text| word(&schema::NFS_SCOPE, text))?;
    let targets = table.optional_text(&schema::ISCSI_TARGETS, |text| file(&schema::ISCSI_TARGETS, text))?;
    let refused = |mistake| document.error(table.start(), mistake);
    let lone = |is_there: bool, key: &'static str, with: &'static str, has: bool| {
        if is_there && !has { Err(refused(Mistake::ServicePart { key, with })) } else { Ok(()) }
    };
    lone(stop.is_some(), "stop", "start", start.is_some())?;
    lone(check.is_some(), "check", "start", start.is_some())?;
    lone(scope.is_some(), "nfs_scope", "nfs_state", nfs_state.is_some())?;
    lone(iscsi_state.is_some(), "iscsi_state", "iscsi_targets", targets.is_some())?;
    let kind = match (units, start, nfs_state, targets) {
        (Some(units), None, None, None) => ServiceKind::Units(units),
        (None, Some(start), None, None) => {
            let stop = stop.ok_or_else(|| table.missing(&schema::STOP))?;
            let check = check.ok_or_else(|| table.missing(&schema::CHECK))?;
            ServiceKind::Command { start, stop, check }
        }
        (None, None, Some(state), None) => {
            let scope = scope.ok_or_else(|| table.missing(&schema::NFS_SCOPE))?;
            ServiceKind::Nfs { state: state.into_inner(), scope: scope.into_inner() }
        }
        (None, None, None, Some(targets)) => {
            ServiceKind::Iscsi { targets: targets.into_inner(), state: iscsi_state.map(Spanned::into_inner) }
        }
        (units, start, nfs, targets) => {
            let kinds = [units.is_some(), start.is_some(), nfs.is_some(), targets.is_some()];
            let found = if kinds.contains(&true) { "more than one thing" } else { "nothing of what it is" };
            return Err(refused(Mistake::ServiceKind { name: place.name, found }));
        }
    };
    let rest = table.optional::<bool>(&schema::REST)?.is_some_and(Spanned::into_inner);
    Ok(ServiceConfig { place, rest, kind })
}

const TAKE: Duration = Duration::from_secs(30);
