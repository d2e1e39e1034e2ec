//! Names, and what needs what.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use toml::Spanned;

use super::super::document::Document;
use super::super::error::ConfigError;
use super::super::mistake::Mistake;
use super::super::quote::Excerpt;
use super::super::table::Table;
use super::super::{schema, value};
use super::{ChargeConfig, FenceConfig, PlaceConfig, ServiceKind, VolumeKind, beside};

/// What was named so far.
#[derive(Default)]
pub(super) struct Names(BTreeMap<String, Named>);

struct Named {
    at: usize,
    needs: Vec<Spanned<String>>,
}

impl Names {
    /// The name and the place of one more.
    pub(super) fn read(
        &mut self,
        document: &Document<'_>,
        table: &Table<'_>,
        default_take: Duration,
    ) -> Result<PlaceConfig, ConfigError> {
        let name = table.text(&schema::NAME, |text| value::name("name", text))?;
        let (at, name) = (name.span().start, name.into_inner());
        if let Some(other) = self.0.get(&name) {
            let line = document.line(other.at, at);
            return Err(document.error(at, Mistake::ChargeNameTaken { name, line }));
        }
        let texts = table.one_or_more(&schema::NEEDS)?;
        let needs = texts.map(|texts| {
            let text = |text: Spanned<&str>| Spanned::new(text.span(), (*text.get_ref()).to_owned());
            texts.into_inner().into_iter().map(text).collect::<Vec<_>>()
        });
        let plain = |text: &Spanned<String>| text.get_ref().clone();
        let place = PlaceConfig {
            name: name.clone(),
            needs: needs.as_ref().map(|needs| needs.iter().map(plain).collect()),
            take: table.duration(&schema::TAKE, &value::TAKE)?.map_or(default_take, Spanned::into_inner),
            release: table
                .duration(&schema::RELEASE, &value::RELEASE)?
                .map_or(DEFAULT_RELEASE, Spanned::into_inner),
            on_failure: table.choice(&schema::ON_FAILURE)?.map(Spanned::into_inner).unwrap_or_default(),
        };
        self.0.insert(name, Named { at, needs: needs.unwrap_or_default() });
        Ok(place)
    }

    /// Whether all that is needed is there, and nothing needs itself.
    pub(super) fn check(&self, document: &Document<'_>) -> Result<(), ConfigError> {
        for named in self.0.values() {
            for need in &named.needs {
                if !self.0.contains_key(need.get_ref()) {
                    let known = self.0.keys().cloned().collect::<Vec<_>>().join(", ");
                    let need_text = Excerpt::new(need.get_ref());
                    let mistake = Mistake::UnknownNeed { need: need_text, known };
                    return Err(document.error(need.span().start, mistake));
                }
            }
        }
        for (name, named) in &self.0 {
            if self.reaches(name, name, self.0.len()) {
                let mistake = Mistake::NeedsItself { name: name.clone() };
                return Err(document.error(named.at, mistake));
            }
        }
        Ok(())
    }

    /// Whether `from` needs `to`, over so many steps.
    fn reaches(&self, from: &str, to: &str, steps: usize) -> bool {
        let mut reached: Vec<&str> = vec![from];
        for _ in 0..steps {
            let needs = |name: &&str| self.0.get(*name).into_iter().flat_map(|named| &named.needs);
            let mut next: Vec<&str> =
                reached.iter().flat_map(needs).map(|need| need.get_ref().as_str()).collect();
            next.sort_unstable();
            next.dedup();
            if next.contains(&to) {
                return true;
            }
            reached = next;
        }
        false
    }
}

/// With paths that are relative to the configuration in `path`.
pub(in super::super) fn placed(mut charge: ChargeConfig, path: &Path) -> ChargeConfig {
    if let Some(FenceConfig { options_file, .. }) = &mut charge.fence {
        *options_file = options_file.take().map(|file| beside(path, file));
    }
    for volume in &mut charge.volumes {
        match &mut volume.kind {
            VolumeKind::Pool { keys, .. } => *keys = keys.take().map(|keys| beside(path, keys)),
            VolumeKind::Mount { .. } => {}
        }
    }
    for service in &mut charge.services {
        match &mut service.kind {
            ServiceKind::Iscsi { targets, .. } => *targets = beside(path, std::mem::take(targets)),
            ServiceKind::Units(_) | ServiceKind::Command { .. } | ServiceKind::Nfs { .. } => {}
        }
    }
    charge
}

const DEFAULT_RELEASE: Duration = Duration::from_secs(30);
