//! Which of the tables found become objects, and under which topics (pure).

use std::collections::HashMap;

use super::mode::Mode;
use super::name::{Pattern, TableName};
use super::sql::Source;
use crate::config::{Config, Object, Polling, Source as Read};
use crate::postgres::{FoundLeaf, FoundTable};
use crate::{Error, Kind};

/// A table that the configuration asks for.
#[derive(Debug)]
pub struct Choice {
    /// The table as found.
    pub table: FoundTable,
    /// Where its rows go.
    pub topic: String,
    /// How it is read.
    pub polling: Polling,
    /// What is read as one statement: a query, or everything of a view. None: the table by itself.
    pub query: Option<String>,
    /// Why it cannot be read, if so.
    pub refused: Option<Error>,
}

/// Kafka's limit on a topic's name.
const TOPIC_MOST: usize = 249;

/// The tables asked for, in their order, each with its topic or the reason against it.
pub fn choose(config: &Config, found: Vec<FoundTable>) -> Vec<Choice> {
    let mut choices: Vec<Choice> = Vec::new();
    let mut taken: HashMap<String, TableName> = HashMap::new();
    let queries = config.objects.iter().filter_map(|(alias, object)| match &object.source {
        Read::Query(query) => Some(FoundTable {
            oid: 0,
            name: TableName::query(alias),
            kind: QUERY,
            granted: true,
            leaves: Vec::new(),
            query: Some(query.clone()),
        }),
        Read::Table(_) => None,
    });
    for table in found.into_iter().chain(queries) {
        let of = |alias: &str, object: &Object| match &object.source {
            Read::Table(name) => *name == table.name,
            Read::Query(_) => table.kind == QUERY && table.name.name == alias,
        };
        let alone = config.objects.iter().find(|(alias, object)| of(alias, object)).map(|(_, object)| object);
        let named = |patterns: &[Pattern]| patterns.iter().any(|p| p.only_table().as_ref() == Some(&table.name));
        let matched = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(&table.name));
        let asked = alone.is_some() || named(&config.tables.include);
        // A pattern means tables; a view is only meant by its own name.
        let is_table = matches!(table.kind, 'r' | 'p');
        let wanted = alone.is_some()
            || ((asked || is_table && matched(&config.tables.include)) && !matched(&config.tables.exclude));
        if !wanted {
            continue;
        }
        let topic = match alone.and_then(|object| object.topic.clone()) {
            Some(topic) => topic,
            None => config.topic.naming.topic(&config.topic.prefix, &table.name),
        };
        let mut polling = alone.map_or(&config.polling, |object| &object.polling).clone();
        if polling.shape.key.is_empty()
            && let Some((_, columns)) =
                config.tables.key_columns.iter().find(|(pattern, _)| pattern.matches(&table.name))
        {
            polling.shape.key.clone_from(columns);
        }
        let refused = refusal(&table, &polling.mode).or_else(|| collision(&topic, &table.name, &mut taken));
        let query = match table.kind {
            'v' | 'm' => {
                let filter = polling.shape.filter.as_ref().map(|filter| format!(" WHERE (\n{filter}\n)"));
                Some(format!("SELECT * FROM {}{}", table.name.quoted(), filter.unwrap_or_default()))
            }
            _ => table.query.clone(),
        };
        choices.push(Choice { table, topic, polling, query, refused });
    }
    choices
}

fn collision(topic: &str, table: &TableName, taken: &mut HashMap<String, TableName>) -> Option<Error> {
    if matches!(topic, "" | "." | "..") {
        return Some(
            Error::new(Kind::Topic, format!("its topic's name would be `{topic}`, which Kafka does not take"))
                .object(table.to_string())
                .hint("check topic.name.format and topic.route.replacement"),
        );
    }
    if topic.len() > TOPIC_MOST {
        let found = topic.len();
        return Some(
            Error::new(Kind::Topic, format!("its topic's name has {found} characters, Kafka takes {TOPIC_MOST}"))
                .object(table.to_string())
                .hint("set objects.<alias>.topic for this table"),
        );
    }
    // Kafka tells `.` and `_` apart in names, its metrics do not; the broker refuses such a pair.
    match taken.entry(topic.replace('.', "_")) {
        std::collections::hash_map::Entry::Vacant(free) => {
            free.insert(table.clone());
            None
        }
        std::collections::hash_map::Entry::Occupied(other) => Some(
            Error::new(Kind::Topic, format!("its topic {topic} is the topic of {} already", other.get()))
                .object(table.to_string())
                .hint("set objects.<alias>.topic for one of the two"),
        ),
    }
}

/// The kind of an object that is a query; PostgreSQL has no such `relkind`.
const QUERY: char = 'q';

fn refusal(table: &FoundTable, mode: &Mode) -> Option<Error> {
    let refuse = |why: String, hint: &str| {
        Some(Error::new(Kind::Denied, why).object(table.name.to_string()).hint(hint.to_owned()))
    };
    let exclude = "name it in tables.exclude; it is not read by this version";
    match table.kind {
        'v' | 'm' if *mode == Mode::Xmin => {
            let what = if table.kind == 'v' { "a view" } else { "a materialized view" };
            let hint = "give it a mode of its own in [objects]: bulk, or a cursor mode by one of its columns";
            return refuse(format!("it is {what}, whose rows have no transaction id to go by"), hint);
        }
        'v' | 'm' if table.granted => return None,
        QUERY => return None,
        'f' => return refuse("it is a foreign table, whose rows have no transaction id".into(), exclude),
        _ => {}
    }
    if !table.granted && table.leaves.iter().any(|leaf| !leaf.granted) {
        return refuse(
            "1012: the role may not select from it".into(),
            "`strandline check` prints the GRANT that is missing",
        );
    }
    for leaf in &table.leaves {
        if leaf.kind != 'r' {
            return refuse(format!("its partition {} is not an ordinary table", leaf.name), exclude);
        }
        if leaf.access_method != "heap" {
            let method = &leaf.access_method;
            return refuse(format!("{} is stored by the access method `{method}`, not by heap", leaf.name), exclude);
        }
    }
    None
}

/// How to read one leaf of a table.
pub fn source(table: &FoundTable, leaf: &FoundLeaf, lock: bool) -> Source {
    Source {
        root: table.oid,
        root_name: table.name.clone(),
        leaf: leaf.oid,
        leaf_name: leaf.name.clone(),
        tree: false,
        through_root: !leaf.granted,
        constraint: leaf.constraint.clone(),
        lock,
    }
}

/// How to read a table with all its leaves in one statement; none where only leaves are granted.
pub fn whole(table: &FoundTable, lock: bool) -> Option<Source> {
    table.granted.then(|| Source {
        root: table.oid,
        root_name: table.name.clone(),
        leaf: table.oid,
        leaf_name: table.name.clone(),
        tree: table.kind == 'p',
        through_root: false,
        constraint: None,
        lock,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_none_or_too_long_is_refused() {
        for topic in ["", "..", &"x".repeat(250)] {
            let error = collision(topic, &TableName::new("a", "b"), &mut HashMap::new()).unwrap();
            assert_eq!((error.kind(), error.object_name()), (Kind::Topic, Some("a.b")), "{topic}");
        }
    }

    #[test]
    fn two_tables_of_one_topic_are_refused_with_both_names() {
        let mut taken = HashMap::new();
        assert!(collision("shop.a.b_c", &TableName::new("a", "b_c"), &mut taken).is_none());
        let error = collision("shop.a.b.c", &TableName::new("a", "b.c"), &mut taken).unwrap();
        assert!(error.report().contains("a.b_c") && error.report().contains("a.\"b.c\""), "{error:?}");
    }

    #[test]
    fn a_partition_of_another_kind_refuses_the_whole_table() {
        let leaf = FoundLeaf {
            oid: 2,
            name: TableName::new("public", "far"),
            kind: 'f',
            access_method: String::new(),
            granted: true,
            constraint: None,
        };
        let name = TableName::new("public", "orders");
        let table = FoundTable { oid: 1, name, kind: 'p', granted: true, leaves: vec![leaf], query: None };
        assert!(refusal(&table, &Mode::Xmin).unwrap().to_string().contains("public.far"));
    }
}
