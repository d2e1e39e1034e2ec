//! TOML with the memory of where everything stood: typed access to tables, errors with lines.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeArray, DeInteger, DeTable, DeValue};

use super::choice::{self, Choice};
use super::document::Document;
use super::error::ConfigError;
use super::mistake::Mistake;
use super::quote::Excerpt;
use super::schema::{self, Key, Schema};
use super::value::{self, Timing};

/// A table that has no unknown keys.
pub(super) struct Table<'a> {
    document: &'a Document<'a>,
    schema: &'static Schema,
    entries: &'a DeTable<'a>,
    /// The byte offset of its header.
    pub(super) start: usize,
}

impl<'a> Table<'a> {
    /// Refuses the first key that is not in `schema`.
    pub(super) fn new(
        document: &'a Document<'a>,
        schema: &'static Schema,
        table: &Spanned<&'a DeTable<'a>>,
    ) -> Result<Self, ConfigError> {
        let (start, entries) = (table.span().start, *table.get_ref());
        let unknown = entries.keys().filter(|key| !schema.has(key.get_ref()));
        match unknown.min_by_key(|key| key.span().start) {
            Some(key) => Err(document.error(key.span().start, schema.refuse(key.get_ref()))),
            None => Ok(Self { document, schema, entries, start }),
        }
    }

    /// The value of a key that may be left out.
    pub(super) fn optional<T: Value<'a>>(
        &self,
        key: &'static Key,
    ) -> Result<Option<Spanned<T>>, ConfigError> {
        let value = self.entries.get(key.name);
        value.map(|value| self.typed(key.name, value, key.example)).transpose()
    }

    /// The number of a key that may be left out. `subject` is what it is called in a sentence.
    pub(super) fn number(
        &self,
        key: &'static Key,
        subject: &'static str,
        range: RangeInclusive<u8>,
    ) -> Result<Option<Spanned<u8>>, ConfigError> {
        let Some(integer) = self.optional::<&DeInteger<'_>>(key)? else { return Ok(None) };
        let (span, integer) = (integer.span(), integer.into_inner());
        match in_range(key, integer, subject, range) {
            Ok(number) => Ok(Some(Spanned::new(span, number))),
            Err(mistake) => Err(self.document.error(span.start, mistake)),
        }
    }

    /// The same for greater numbers.
    pub(super) fn whole(
        &self,
        key: &'static Key,
        subject: &'static str,
        range: RangeInclusive<u32>,
    ) -> Result<Option<Spanned<u32>>, ConfigError> {
        let Some(integer) = self.optional::<&DeInteger<'_>>(key)? else { return Ok(None) };
        let (span, integer) = (integer.span(), integer.into_inner());
        match u32::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if range.contains(&number) => Ok(Some(Spanned::new(span, number))),
            Ok(_) | Err(_) => {
                let value = Excerpt::new(&integer.to_string());
                let (min, max) = range.into_inner();
                let mistake = Mistake::OutOfRange { key: key.name, value, subject, min, max };
                Err(self.document.error(span.start, mistake))
            }
        }
    }

    /// The same, where `"off"` may stand for no number at all.
    pub(super) fn number_or_off(
        &self,
        key: &'static Key,
        subject: &'static str,
        range: RangeInclusive<u8>,
    ) -> Result<Option<Spanned<Option<u8>>>, ConfigError> {
        let Some(value) = self.optional::<NumberOrWord<'_>>(key)? else { return Ok(None) };
        let span = value.span();
        let number = match value.into_inner() {
            NumberOrWord::Number(integer) => in_range(key, integer, subject, range).map(Some),
            NumberOrWord::Word("off") => Ok(None),
            NumberOrWord::Word(word) => {
                let known = format!("\"off\" or a number, {} to {}", range.start(), range.end());
                Err(Mistake::UnknownWord { key: key.name, word: Excerpt::new(word), known })
            }
        };
        match number {
            Ok(number) => Ok(Some(Spanned::new(span, number))),
            Err(mistake) => Err(self.document.error(span.start, mistake)),
        }
    }

    /// The string of a key that must be there, made into what it means.
    pub(super) fn text<T>(
        &self,
        key: &'static Key,
        meaning: impl FnOnce(&str) -> Result<T, Mistake>,
    ) -> Result<Spanned<T>, ConfigError> {
        self.optional_text(key, meaning)?.ok_or_else(|| self.missing(key))
    }

    /// The string of a key that may be left out, made into what it means.
    pub(super) fn optional_text<T>(
        &self,
        key: &'static Key,
        meaning: impl FnOnce(&str) -> Result<T, Mistake>,
    ) -> Result<Option<Spanned<T>>, ConfigError> {
        let Some(text) = self.optional::<&str>(key)? else { return Ok(None) };
        match meaning(text.get_ref()) {
            Ok(value) => Ok(Some(Spanned::new(text.span(), value))),
            Err(mistake) => Err(self.document.error(text.span().start, mistake)),
        }
    }

    /// The duration of a key that may be left out.
    pub(super) fn duration(
        &self,
        key: &'static Key,
        timing: &'static Timing,
    ) -> Result<Option<Spanned<Duration>>, ConfigError> {
        self.optional_text(key, |text| value::duration(text, timing))
    }

    /// The choice of a key that may be left out.
    pub(super) fn choice<T: Choice>(&self, key: &'static Key) -> Result<Option<Spanned<T>>, ConfigError> {
        self.optional_text(key, |text| choice::choose(key.name, text))
    }

    /// The strings of a key that takes one or an array of them, and that may be left out.
    pub(super) fn one_or_more(
        &self,
        key: &'static Key,
    ) -> Result<Option<Spanned<Vec<Spanned<&'a str>>>>, ConfigError> {
        let Some(value) = self.optional::<OneOrMore<'a>>(key)? else { return Ok(None) };
        let span = value.span();
        match value.into_inner() {
            OneOrMore::One(text) => Ok(Some(Spanned::new(span.clone(), vec![Spanned::new(span, text)]))),
            OneOrMore::More => self.elements(key),
        }
    }

    /// The same, each made into what it means; at least one, if the key is there.
    pub(super) fn list<T>(
        &self,
        key: &'static Key,
        meaning: impl Fn(&str) -> Result<T, Mistake>,
    ) -> Result<Option<Vec<T>>, ConfigError> {
        let Some(texts) = self.one_or_more(key)? else { return Ok(None) };
        let at = texts.span().start;
        let meaning = |text: Spanned<&str>| {
            meaning(text.get_ref()).map_err(|mistake| self.document.error(text.span().start, mistake))
        };
        let list = texts.into_inner().into_iter().map(meaning).collect::<Result<Vec<_>, _>>()?;
        if list.is_empty() {
            return Err(self.document.error(at, Mistake::EmptyList { key: key.name, example: key.example }));
        }
        Ok(Some(list))
    }

    /// The elements of an array, whose key may be left out.
    pub(super) fn elements<T: Value<'a>>(
        &self,
        key: &'static Key,
    ) -> Result<Option<Spanned<Vec<Spanned<T>>>>, ConfigError> {
        let Some(array) = self.optional::<&DeArray<'_>>(key)? else { return Ok(None) };
        let subject = format!("each element of {}", key.name);
        let elements = array.get_ref().iter().map(|value| self.typed(&subject, value, key.example));
        Ok(Some(Spanned::new(array.span(), elements.collect::<Result<_, _>>()?)))
    }

    /// Where it begins in the text.
    pub(super) fn start(&self) -> usize {
        self.start
    }

    /// The error about a key that is not there.
    pub(super) fn missing(&self, key: &'static Key) -> ConfigError {
        let Key { name, example } = *key;
        let place = self.schema.place;
        let at = if schema::is_shared(name) { self.shared_start() } else { self.start };
        self.document.error(at, Mistake::MissingKey { key: name, place, example })
    }

    /// The byte offset of the header under which its shared keys stand: its own, if nothing is shared.
    pub(super) fn shared_start(&self) -> usize {
        self.document.twin(self.start).unwrap_or(self.start)
    }

    fn typed<T: Value<'a>>(
        &self,
        subject: &str,
        value: &'a Spanned<DeValue<'a>>,
        example: &'static str,
    ) -> Result<Spanned<T>, ConfigError> {
        let (span, value) = (value.span(), value.get_ref());
        if let Some(typed) = T::of(value) {
            return Ok(Spanned::new(span, typed));
        }
        let (expected, found) = (T::EXPECTED, with_article(value.type_str()));
        let mistake = Mistake::WrongType { subject: subject.into(), expected, found, example };
        Err(self.document.error(span.start, mistake))
    }
}

/// A type that a TOML value can have.
pub(super) trait Value<'a>: Sized {
    /// The type in a sentence.
    const EXPECTED: &'static str;

    /// The value, if it is of this type.
    fn of(value: &'a DeValue<'a>) -> Option<Self>;
}

impl<'a> Value<'a> for &'a str {
    const EXPECTED: &'static str = "a string";

    fn of(value: &'a DeValue<'a>) -> Option<Self> {
        value.as_str()
    }
}

impl<'a> Value<'a> for &'a DeInteger<'a> {
    const EXPECTED: &'static str = "an integer";

    fn of(value: &'a DeValue<'a>) -> Option<Self> {
        value.as_integer()
    }
}

impl<'a> Value<'a> for bool {
    const EXPECTED: &'static str = "true or false";

    fn of(value: &'a DeValue<'a>) -> Option<Self> {
        value.as_bool()
    }
}

impl<'a> Value<'a> for &'a DeArray<'a> {
    const EXPECTED: &'static str = "an array";

    fn of(value: &'a DeValue<'a>) -> Option<Self> {
        value.as_array()
    }
}

/// What takes one string or an array of them.
enum OneOrMore<'a> {
    One(&'a str),
    More,
}

impl<'a> Value<'a> for OneOrMore<'a> {
    const EXPECTED: &'static str = "a string or an array of strings";

    fn of(value: &'a DeValue<'a>) -> Option<Self> {
        value.as_str().map(Self::One).or_else(|| value.is_array().then_some(Self::More))
    }
}

/// What takes an integer or a word.
enum NumberOrWord<'a> {
    Number(&'a DeInteger<'a>),
    Word(&'a str),
}

impl<'a> Value<'a> for NumberOrWord<'a> {
    const EXPECTED: &'static str = "an integer or a string";

    fn of(value: &'a DeValue<'a>) -> Option<Self> {
        value.as_integer().map(Self::Number).or_else(|| value.as_str().map(Self::Word))
    }
}

impl<'a> Value<'a> for &'a DeTable<'a> {
    const EXPECTED: &'static str = "a table";

    fn of(value: &'a DeValue<'a>) -> Option<Self> {
        value.as_table()
    }
}

fn in_range(
    key: &'static Key,
    integer: &DeInteger<'_>,
    subject: &'static str,
    range: RangeInclusive<u8>,
) -> Result<u8, Mistake> {
    match u8::from_str_radix(integer.as_str(), integer.radix()) {
        Ok(number) if range.contains(&number) => Ok(number),
        Ok(_) | Err(_) => {
            let value = Excerpt::new(&integer.to_string());
            let (min, max) = (u32::from(*range.start()), u32::from(*range.end()));
            Err(Mistake::OutOfRange { key: key.name, value, subject, min, max })
        }
    }
}

fn with_article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("{article} {noun}")
}
