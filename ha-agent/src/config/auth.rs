//! The table `[auth]`, and the files that it names.

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;

use super::document::Document;
use super::error::ConfigError;
use super::mistake::Mistake;
use super::passphrase::{self, KeyFile};
use super::quote::ShellPath;
use super::table::Table;
use super::{Auth, Mode, schema, value};

/// What the text says.
pub(super) struct AuthText {
    /// One or two, as written, with their places.
    files: Vec<Spanned<PathBuf>>,
    pub(super) mode: Mode,
    clock_difference: Duration,
}

impl AuthText {
    /// Reads the table. No I/O.
    pub(super) fn read(document: &Document<'_>, table: &Table<'_>) -> Result<Self, ConfigError> {
        let files = files(document, table)?;
        let mode = table.choice(&schema::MODE)?.map(Spanned::into_inner).unwrap_or_default();
        let clock_difference = table.duration(&schema::CLOCK_DIFFERENCE, &value::CLOCK_DIFFERENCE)?;
        match (mode, &clock_difference) {
            (Mode::Compat, Some(difference)) => {
                Err(document.error(difference.span().start, Mistake::ClockDifferenceAlone))
            }
            (Mode::Compat, None) | (Mode::Strict, _) => {
                let clock_difference = clock_difference.map_or(DEFAULT_CLOCK_DIFFERENCE, Spanned::into_inner);
                Ok(Self { files, mode, clock_difference })
            }
        }
    }

    /// Reads the files, relative to the configuration in `path`. Returns warnings too.
    pub(super) fn load(
        self,
        path: &Path,
        document: &Document<'_>,
    ) -> Result<(Auth, Vec<String>), ConfigError> {
        let mut keys: Vec<(PathBuf, KeyFile)> = Vec::new();
        let mut warnings = Vec::new();
        for file in self.files {
            let at = file.span().start;
            let key = schema::PASSPHRASE_FILE.name;
            let key_path =
                beside(path, file.get_ref(), key).map_err(|mistake| document.error(at, mistake))?;
            let key = passphrase::read(&key_path).map_err(|cause| document.error(at, cause))?;
            warnings.extend(key.warning.as_ref().map(|warning| document.warning(at, warning)));
            match keys.iter().find(|(_, first)| first.passphrase == key.passphrase) {
                // The kernel would compute the same digest twice.
                Some((first, _)) => warnings.push(document.warning(
                    at,
                    format_args!(
                        "the passphrases in {} and {} are the same; remove one of the two from passphrase_file",
                        ShellPath(first),
                        ShellPath(&key_path)
                    ),
                )),
                None => keys.push((key_path, key)),
            }
        }
        let passphrases = keys.into_iter().map(|(_, key)| key.passphrase).collect();
        let Self { mode, clock_difference, .. } = self;
        Ok((Auth { passphrases, mode, clock_difference }, warnings))
    }
}

/// Where a file is that the configuration in `path` names under `key`: among the credentials, or relative to it.
pub(super) fn beside(path: &Path, file: &Path, key: &'static str) -> Result<PathBuf, Mistake> {
    match file.strip_prefix(CREDENTIALS) {
        Ok(name) => Ok(credentials().ok_or(Mistake::NoCredentials { key })?.join(name)),
        Err(_) => Ok(path.parent().unwrap_or(Path::new("")).join(file)),
    }
}

/// Where a service manager puts what it hands over (systemd.exec(5), `LoadCredential=`).
fn credentials() -> Option<PathBuf> {
    let directory = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    directory.filter(|directory| directory.is_absolute())
}

fn files(document: &Document<'_>, table: &Table<'_>) -> Result<Vec<Spanned<PathBuf>>, ConfigError> {
    let texts = table.one_or_more(&schema::PASSPHRASE_FILE)?;
    let texts = texts.ok_or_else(|| table.missing(&schema::PASSPHRASE_FILE))?;
    let at = texts.span().start;
    match texts.get_ref().len() {
        0 => return Err(document.error(at, Mistake::NoPassphraseFile)),
        1..=PASSPHRASES => {}
        count => return Err(document.error(at, Mistake::TooManyPassphraseFiles { count })),
    }
    let file = |text: Spanned<&str>| {
        let path = value::file_path(text.get_ref());
        let path = path.map_err(|mistake| document.error(text.span().start, mistake))?;
        Ok(Spanned::new(text.span(), path))
    };
    texts.into_inner().into_iter().map(file).collect()
}

/// How the names of files begin that are credentials, as in systemd's units.
const CREDENTIALS: &str = "%d";
/// How many are valid at once: enough to go from one to the next (CARP has no field that names the key).
const PASSPHRASES: usize = 2;

const DEFAULT_CLOCK_DIFFERENCE: Duration = Duration::from_secs(2);
