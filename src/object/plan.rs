//! How an object's rows are encoded: transcoders, schemas and topic, as one description asks for them.

use super::Object;
use crate::avro::{Encoder, RecordNames, Settings};
use crate::config::Config;
use crate::kafka::Admin;
use crate::postgres::Description;
use crate::registry::Registry;
use crate::{Error, Kind, Result};

/// How rows of one description are encoded.
pub struct Plan {
    /// The columns that the encoder was built for.
    pub description: Description,
    /// Its schemas and transcoders.
    pub encoder: Encoder,
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
        let name = |at: &usize| description.columns.get(*at).map(|column| column.name.as_str());
        tracing::info!(
            object = %object.name, topic = %object.topic, columns = description.columns.len(),
            key = %description.key.iter().filter_map(name).collect::<Vec<_>>().join(","),
            schema_id = value, "planned"
        );
        if description.key.is_empty() {
            tracing::warn!(object = %object.name, "it has no key: records carry none, and versions of a row cannot be told to belong together");
        }
        Ok(Plan { description, encoder })
    }
}
