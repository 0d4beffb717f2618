//! Objects of a schema's JSON: members in their order, values untouched.
//!
//! **In** raw JSON. **Out** members by name. **Invariant:** a piece stays part of the text, so that its place can be told.
//! **Not here:** what members mean.

use std::{borrow::Cow, fmt};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Parser, SchemaError};
use crate::suggest;

type Member<'t> = (Cow<'t, str>, &'t RawValue);

pub(super) struct Object<'t> {
    pub(super) raw: &'t RawValue,
    pub(super) members: Vec<Member<'t>>,
}

impl<'t> Object<'t> {
    pub(super) fn get(&self, name: &str) -> Option<&'t RawValue> {
        self.members.iter().find(|(n, _)| n == name).map(|(_, value)| *value)
    }

    pub(super) fn needed(&self, parser: &Parser<'t>, name: &str) -> Result<&'t RawValue, SchemaError> {
        self.get(name).ok_or_else(|| {
            let error = parser.error(self.raw.get(), format!("`{name}` is missing"));
            let names = self.members.iter().map(|(n, _)| &**n);
            match suggest::closest(name, names) {
                Some(close) => error.hint(format!("is `{close}` meant?")),
                None => error,
            }
        })
    }
}

/// An object's members in their order, values untouched.
pub(super) struct Members<'t>(pub(super) Vec<Member<'t>>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    all.push((Cow::Owned(name), value));
                }
                Ok(Members(all))
            }
        }
        deserializer.deserialize_map(All)
    }
}
