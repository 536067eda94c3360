//! How an object's rows are encoded: transcoders, schemas and topic, as one description asks for them.

use super::Object;
use crate::avro::{Encoder, RecordNames, Settings};
use crate::config::{Config, Oversize};
use crate::kafka::Admin;
use crate::letter::Fault;
use crate::poll::{Guard, is_cuttable, sql};
use crate::postgres::Description;
use crate::registry::Registry;
use crate::{Error, Kind, Result};

/// How rows of one description are encoded.
pub struct Plan {
    /// The columns that the encoder was built for.
    pub description: Description,
    /// Its schemas and transcoders.
    pub encoder: Encoder,
    /// The largest record that its topic takes, in bytes of key, value and headers.
    pub largest: usize,
    /// The same of the dead-letter topic.
    pub largest_letter: usize,
    /// Of fields too large to be read, if it could have any.
    pub guard: Option<Guard>,
}

impl Plan {
    /// Chooses the transcoders and makes sure that registry and topic are there.
    pub async fn make(
        config: &Config,
        registry: &Registry,
        admin: &Admin,
        object: &Object,
        description: Description,
        settings: &Settings,
    ) -> Result<Plan> {
        let at = |error: Error| error.object(object.name.to_string());
        object.polling.mode.check(object.query.is_some(), &description).map_err(at)?;
        let names = RecordNames::new(&config.topic.prefix, &object.name, config.adjustment);
        let encoder = Encoder::new(&names, &description, settings).map_err(at)?;
        for warning in encoder.warnings() {
            tracing::warn!(object = %object.name, "{warning}");
        }
        let strategy = config.schema_registry.strategy;
        let key = match encoder.key_schema() {
            Some(schema) => Some(registry.register(&strategy.key(&object.topic, &names), schema).await.map_err(at)?),
            None => None,
        };
        let subject = strategy.value(&object.topic, &names);
        let (mut encoder, value) = match registry.register(&subject, encoder.value_schema()).await {
            Err(refused) if refused.kind() == Kind::Incompatible => {
                // A column that has become NOT NULL, or one added so without a constant default, is refused where old
                // records must stay readable. As a union with null it is not.
                let wider = Settings { all_nullable: true, ..*settings };
                let wider = Encoder::new(&names, &description, &wider).map_err(at)?;
                let Ok(id) = registry.register(&subject, wider.value_schema()).await else { return Err(at(refused)) };
                tracing::warn!(
                    object = %object.name, subject, schema_id = id,
                    "the registry refuses a column that is NOT NULL, as older records lack it: in Avro every column may be null from now on"
                );
                (wider, id)
            }
            registered => (encoder, registered.map_err(at)?),
        };
        encoder.set_ids(key, value);
        let made = admin.ensure(&config.topic, &object.topic).await.map_err(at)?;
        let before = object.committed.as_ref().map_or(0, |committed| committed.rows);
        if made && before > 0 {
            tracing::warn!(
                object = %object.name, topic = %object.topic, rows = before,
                "the topic was not there, although rows were delivered to it before: those are not in it; \
                 `strandline offsets reset` loads the table again"
            );
        }
        let largest = admin.largest(&config.kafka, &object.topic).map_err(at)?;
        let cut: &[String] = match &object.polling.oversize {
            Oversize::Truncate(columns) => columns,
            _ => &[],
        };
        check_cut(cut, &description).map_err(at)?;
        let guard = Guard::new(&description, encoder.selects(), largest, cut);
        let largest_letter = match &config.errors.topic {
            Some(letters) if *letters == object.topic => {
                return Err(at(Error::new(Kind::Topic, format!("its topic {letters} is the dead-letter topic"))
                    .hint("set errors.deadletterqueue.topic.name to a topic of its own")));
            }
            Some(letters) => {
                admin.ensure(&config.topic, letters).await?;
                admin.largest(&config.kafka, letters)?
            }
            None => 0,
        };
        let plan = Plan { description, encoder, largest, largest_letter, guard };
        let key = plan.key_names();
        tracing::info!(
            object = %object.name, topic = %object.topic, columns = plan.description.columns.len(),
            key = %key.join(","), schema_id = value, "planned"
        );
        if key.is_empty() {
            tracing::warn!(object = %object.name, "it has no key: records carry none, and versions of a row cannot be told to belong together");
        }
        Ok(plan)
    }

    /// The names of the key's columns.
    pub fn key_names(&self) -> Vec<&str> {
        let name = |at: &usize| self.description.columns.get(*at).map(|column| column.name.as_str());
        self.description.key.iter().filter_map(name).collect()
    }

    /// The columns that make a row too large: those of a key, or the largest of all.
    pub fn to_blame(&self, skip: usize, tuple: &[u8], fault: Fault) -> Vec<String> {
        if fault == Fault::OversizeKey {
            return self.key_names().into_iter().map(str::to_owned).collect();
        }
        let lengths = self.encoder.lengths(skip, tuple).unwrap_or_default();
        let largest = lengths.iter().enumerate().max_by_key(|(_, length)| length.unwrap_or(0));
        let column = largest.and_then(|(at, _)| self.description.columns.get(at));
        column.map(|column| column.name.clone()).into_iter().collect()
    }

    /// The row as text, for letters; see [`sql::row_text`].
    pub fn row_text(&self) -> String {
        sql::row_text(&self.description.columns, self.largest_letter / 2)
    }

    /// What a guard's marker tells.
    pub fn sizes(&self, marker: &str) -> Result<Vec<(usize, usize)>> {
        let sizes = self.guard.as_ref().and_then(|guard| guard.sizes(marker));
        sizes.ok_or_else(|| Error::new(Kind::Transient, "the sizes of a row's columns are unreadable"))
    }
}

/// Columns that may be cut have to be texts or bytes, and no part of the key: cut keys would be each other's.
fn check_cut(columns: &[String], description: &Description) -> Result<()> {
    for name in columns {
        let refuse = |what: &str| {
            Error::new(Kind::Denied, format!("oversize.truncate.columns names \"{name}\", {what}"))
                .hint("texts and bytea that are neither masked nor in the key can be cut; names match as stored")
        };
        let at = description.columns.iter().position(|column| column.name == *name);
        let at = at.ok_or_else(|| refuse("and it has no such column"))?;
        if description.key.contains(&at) {
            return Err(refuse("which is part of its key"));
        }
        if !description.columns.get(at).is_some_and(is_cuttable) {
            return Err(refuse("which is no text or bytea"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::{Column, Type};

    #[test]
    fn only_texts_and_bytes_outside_the_key_are_cut() {
        let column = |name: &str, type_: &str| Column {
            attnum: 1,
            name: name.into(),
            not_null: true,
            declared: type_.into(),
            type_: Type::built_in(0, type_),
            typmod: -1,
            default: None,
            expression: None,
            cast: None,
        };
        let columns = vec![column("id", "text"), column("doc", "text"), column("raw", "bytea"), column("j", "jsonb")];
        let description = Description { columns, key: vec![0] };
        let check = |name: &str| check_cut(&[name.to_owned()], &description).map_err(|error| error.to_string());
        assert!(check("doc").is_ok() && check("raw").is_ok());
        for (name, said) in [("id", "part of its key"), ("j", "no text or bytea"), ("Doc", "no such column")] {
            assert!(check(name).unwrap_err().contains(said), "{name}");
        }
    }
}
