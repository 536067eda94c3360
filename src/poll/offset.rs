//! The JSON of a watermark: the source offset in the offsets topic (`docs/offsets.md`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::str::FromStr;

use serde_json::{Map, Value};

use super::bound::{Bound, Bounds, Values};
use super::history::{Entry, History};
use super::mode::Mode;
use super::moment::{Lsn, Markers};
use super::watermark::{Leaf, Reading, Sweep, Watermark};

/// The version of the stored form.
const VERSION: u64 = 1;

impl Watermark {
    /// The source offset: one flat object of primitives, lists as compact strings.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = Map::new();
        let mut put = |key: &str, value: Value| json.insert(key.to_owned(), value);
        put("version", VERSION.into());
        put("mode", self.reading.mode.as_str().into());
        if !self.reading.query.is_empty() {
            put("query", self.reading.query.as_str().into());
        }
        if !self.reading.cursor.is_empty() {
            put("cursor", self.reading.cursor.as_str().into());
        }
        if !self.reading.shape.is_empty() {
            put("shape", self.reading.shape.as_str().into());
        }
        let whole = |column: &Option<String>| column.as_deref().map_or(Value::Null, Value::from);
        if self.position != Values::default() {
            put("timestamp", whole(&self.position.timestamp));
            put("incrementing", whole(&self.position.incrementing));
        }
        put("xmin", self.leaves.values().map(|leaf| leaf.floor).min().unwrap_or(0).into());
        put("table_oid", self.table.into());
        put("leaves", self.floors_text(|leaf| leaf.floor).into());
        put("sweep", self.sweeps_text(|leaf| leaf.sweep).into());
        if self.leaves.values().any(|leaf| !leaf.ahead.is_empty()) {
            put("ahead", self.lists_text(|leaf| &leaf.ahead).into());
        }
        if self.leaves.values().any(|leaf| !leaf.defaulted.is_empty()) {
            put("defaulted", self.lists_text(|leaf| &leaf.defaulted).into());
        }
        if self.is_with_cursor() {
            put("swept", self.floors_text(|leaf| leaf.swept).into());
            put("again", self.sweeps_text(|leaf| leaf.again).into());
            put("bounds", self.bounds_text().into());
        }
        if self.pass_at != 0 || self.passes != 0 {
            put("pass_at", self.pass_at.into());
            put("passes", self.passes.into());
        }
        put("rows", self.rows.into());
        put("bytes", self.bytes.into());
        if self.letters != 0 {
            put("letters", self.letters.into());
        }
        put("xmax", self.xmax.into());
        // Beyond 2^53 a number does not survive JavaScript tools.
        put("system_identifier", self.markers.system.to_string().into());
        put("database_oid", self.markers.database.into());
        put("timeline", self.markers.timeline.into());
        put("in_recovery", self.markers.in_recovery.into());
        put("postmaster_start", self.markers.started.into());
        put("stats_reset", self.markers.stats_reset.into());
        put("history", self.history_text().into());
        serde_json::to_vec(&Value::Object(json)).unwrap_or_default()
    }

    /// Reads what [`Watermark::to_json`] wrote. An error names the field and what it holds.
    pub fn from_json(json: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(json).map_err(|error| format!("not JSON: {error}"))?;
        let fields = Fields(value.as_object().ok_or("not a JSON object")?);
        match fields.number::<u64>("version")? {
            VERSION => {}
            version => return Err(format!("`version` is {version}; this version of Strandline reads {VERSION}")),
        }
        let mode = fields.text("mode")?;
        if !Mode::NAMES.contains(&mode) {
            return Err(format!("`mode` is `{mode}`, which this version does not know"));
        }
        let reading = Reading {
            mode: mode.to_owned(),
            cursor: fields.optional("cursor")?.unwrap_or_default(),
            query: fields.optional("query")?.unwrap_or_default(),
            shape: fields.optional("shape")?.unwrap_or_default(),
        };
        let mut watermark = Watermark {
            reading,
            table: fields.number("table_oid")?,
            markers: Markers {
                system: fields.parsed("system_identifier")?,
                database: fields.number("database_oid")?,
                timeline: fields.number("timeline")?,
                in_recovery: fields.flag("in_recovery")?,
                started: fields.number("postmaster_start")?,
                stats_reset: fields.number("stats_reset")?,
            },
            xmax: fields.number("xmax")?,
            leaves: BTreeMap::new(),
            history: History::default(),
            rows: fields.number("rows")?,
            bytes: fields.number("bytes")?,
            letters: if fields.has("letters") { fields.number("letters")? } else { 0 },
            bounds: Bounds::default(),
            pass_at: if fields.has("pass_at") { fields.number("pass_at")? } else { 0 },
            passes: if fields.has("passes") { fields.number("passes")? } else { 0 },
            position: Values {
                timestamp: fields.optional("timestamp")?,
                incrementing: fields.optional("incrementing")?,
            },
        };
        watermark.read_floors(fields.text("leaves")?)?;
        watermark.read_sweeps("sweep", fields.text("sweep")?)?;
        if watermark.is_with_cursor() {
            watermark.read_swept(fields.text("swept")?)?;
            watermark.read_sweeps("again", fields.text("again")?)?;
            watermark.read_bounds(fields.text("bounds")?)?;
        }
        if let Some(ahead) = fields.optional("ahead")? {
            watermark.read_lists("ahead", &ahead, |leaf| &mut leaf.ahead)?;
        }
        if let Some(defaulted) = fields.optional("defaulted")? {
            watermark.read_lists("defaulted", &defaulted, |leaf| &mut leaf.defaulted)?;
        }
        watermark.read_history(fields.text("history")?)?;
        Ok(watermark)
    }

    /// `floor:oid,oid;floor:oid`, since nearly all leaves share a floor.
    fn floors_text(&self, of: impl Fn(&Leaf) -> u64) -> String {
        let mut by_floor: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        for (oid, leaf) in &self.leaves {
            by_floor.entry(of(leaf)).or_default().push(oid.to_string());
        }
        let groups: Vec<String> = by_floor.iter().map(|(floor, oids)| format!("{floor}:{}", oids.join(","))).collect();
        groups.join(";")
    }

    fn read_floors(&mut self, text: &str) -> Result<(), String> {
        for (floor, oid) in floors("leaves", text)? {
            if self.leaves.insert(oid, Leaf { floor, ..Leaf::default() }).is_some() {
                return Err(format!("`leaves` names {oid} twice"));
            }
        }
        Ok(())
    }

    fn read_swept(&mut self, text: &str) -> Result<(), String> {
        for (swept, oid) in floors("swept", text)? {
            match self.leaves.get_mut(&oid) {
                Some(leaf) => leaf.swept = swept,
                None => return Err(format!("`swept` names {oid}, which `leaves` does not")),
            }
        }
        Ok(())
    }

    /// `oid to filenode (block,offset);…`, usually one: a sweep that has opened no file yet begins anew after a restart,
    /// and costs no room here.
    fn sweeps_text(&self, of: impl Fn(&Leaf) -> Option<Sweep>) -> String {
        let mut text = String::new();
        for (oid, leaf) in &self.leaves {
            if let Some(Sweep { to, filenode, next }) = of(leaf)
                && filenode != 0
            {
                let gap = if text.is_empty() { "" } else { ";" };
                let _ = write!(text, "{gap}{oid} {to} {filenode} {next}");
            }
        }
        text
    }

    fn read_sweeps(&mut self, field: &str, text: &str) -> Result<(), String> {
        for sweep in text.split(';').filter(|sweep| !sweep.is_empty()) {
            let wrong = || format!("`{field}` holds `{}`, not oid to filenode (block,offset)", shorten(sweep));
            let parts: Vec<&str> = sweep.split(' ').collect();
            let [oid, to, filenode, next] = parts[..] else { return Err(wrong()) };
            let oid: u32 = oid.parse().map_err(|_| wrong())?;
            let sweep = Sweep {
                to: to.parse().map_err(|_| wrong())?,
                filenode: filenode.parse().map_err(|_| wrong())?,
                next: next.parse().map_err(|_| wrong())?,
            };
            let again = field == "again";
            match self.leaves.get_mut(&oid) {
                Some(leaf) if again && leaf.swept < sweep.to => leaf.again = Some(sweep),
                Some(leaf) if !again && leaf.floor < sweep.to => leaf.sweep = Some(sweep),
                Some(_) => return Err(format!("`{field}` of {oid} ends below its floor")),
                None => return Err(format!("`{field}` names {oid}, which `leaves` does not")),
            }
        }
        Ok(())
    }

    /// `oid number,number;…`.
    fn lists_text<T: ToString + 'static>(&self, of: impl Fn(&Leaf) -> &BTreeSet<T>) -> String {
        let lists = self.leaves.iter().filter(|(_, leaf)| !of(leaf).is_empty());
        let groups: Vec<String> = lists
            .map(|(oid, leaf)| {
                let numbers: Vec<String> = of(leaf).iter().map(T::to_string).collect();
                format!("{oid} {}", numbers.join(","))
            })
            .collect();
        groups.join(";")
    }

    fn read_lists<T: FromStr + Ord>(
        &mut self,
        field: &str,
        text: &str,
        of: impl Fn(&mut Leaf) -> &mut BTreeSet<T>,
    ) -> Result<(), String> {
        for group in text.split(';') {
            let wrong = || format!("`{field}` holds `{}`, not oid number,number;…", shorten(group));
            let (oid, numbers) = group.split_once(' ').ok_or_else(wrong)?;
            let leaf = oid.parse().ok().and_then(|oid: u32| self.leaves.get_mut(&oid)).ok_or_else(wrong)?;
            *of(leaf) =
                numbers.split(',').map(|number| number.parse().map_err(|_| wrong())).collect::<Result<_, _>>()?;
        }
        Ok(())
    }

    /// `[[xmax,timestamp,incrementing],…]` as JSON: a cursor may hold any character.
    fn bounds_text(&self) -> String {
        let pair = |pair: &Bound| (pair.xmax, pair.values.timestamp.clone(), pair.values.incrementing.clone());
        let pairs: Vec<_> = self.bounds.pairs().iter().map(pair).collect();
        serde_json::to_string(&pairs).unwrap_or_default()
    }

    fn read_bounds(&mut self, text: &str) -> Result<(), String> {
        let wrong = || format!("`bounds` is `{}`, not [[xmax,timestamp,incrementing],…] by rising xmax", shorten(text));
        let pairs: Vec<(u64, Option<String>, Option<String>)> = serde_json::from_str(text).map_err(|_| wrong())?;
        if !pairs.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(wrong());
        }
        let pair = |(xmax, timestamp, incrementing)| Bound { xmax, values: Values { timestamp, incrementing } };
        self.bounds = Bounds::from_pairs(pairs.into_iter().map(pair).collect());
        Ok(())
    }

    /// `xmin lsn seconds c|u;…`, oldest first.
    fn history_text(&self) -> String {
        let entries: Vec<String> = self
            .history
            .entries()
            .iter()
            .map(|entry| {
                let confirmed = if entry.confirmed { 'c' } else { 'u' };
                format!("{} {} {} {confirmed}", entry.xmin, entry.lsn, entry.at)
            })
            .collect();
        entries.join(";")
    }

    fn read_history(&mut self, text: &str) -> Result<(), String> {
        let mut entries = Vec::new();
        for entry in text.split(';').filter(|entry| !entry.is_empty()) {
            let wrong = || format!("`history` holds `{}`, not xmin lsn seconds c|u", shorten(entry));
            let parts: Vec<&str> = entry.split(' ').collect();
            let [xmin, lsn, at, confirmed @ ("c" | "u")] = parts[..] else { return Err(wrong()) };
            entries.push(Entry {
                xmin: xmin.parse().map_err(|_| wrong())?,
                lsn: lsn.parse::<Lsn>().map_err(|_| wrong())?,
                at: at.parse().map_err(|_| wrong())?,
                confirmed: confirmed == "c",
            });
        }
        self.history = History::from_entries(entries);
        Ok(())
    }
}

/// Floor and OID of each leaf that `floor:oid,oid;…` names.
fn floors(field: &str, text: &str) -> Result<Vec<(u64, u32)>, String> {
    let wrong = || format!("`{field}` is `{}`, not floor:oid,oid;…", shorten(text));
    let mut floors = Vec::new();
    for group in text.split(';').filter(|group| !group.is_empty()) {
        let (floor, oids) = group.split_once(':').ok_or_else(wrong)?;
        let floor = floor.parse().map_err(|_| wrong())?;
        for oid in oids.split(',') {
            floors.push((floor, oid.parse().map_err(|_| wrong())?));
        }
    }
    Ok(floors)
}

/// The fields of a stored object, each read with its name in the error.
struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    fn get(&self, name: &str) -> Result<&'a Value, String> {
        self.0.get(name).ok_or_else(|| format!("`{name}` is missing"))
    }

    fn number<T: TryFrom<i128>>(&self, name: &str) -> Result<T, String> {
        let value = self.get(name)?;
        let number = value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
        number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| self.wrong(name, "a whole number in range"))
    }

    fn text(&self, name: &str) -> Result<&'a str, String> {
        self.get(name)?.as_str().ok_or_else(|| self.wrong(name, "a string"))
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn optional(&self, name: &str) -> Result<Option<String>, String> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(_) => self.text(name).map(|text| Some(text.to_owned())),
        }
    }

    fn flag(&self, name: &str) -> Result<bool, String> {
        self.get(name)?.as_bool().ok_or_else(|| self.wrong(name, "true or false"))
    }

    fn parsed<T: std::str::FromStr>(&self, name: &str) -> Result<T, String> {
        self.text(name)?.parse().map_err(|_| self.wrong(name, "a whole number in quotes"))
    }

    fn wrong(&self, name: &str, want: &str) -> String {
        format!("`{name}` is `{}`, not {want}", shorten(&self.0.get(name).map(Value::to_string).unwrap_or_default()))
    }
}

fn shorten(text: &str) -> String {
    const MOST: usize = 60;
    if text.chars().count() <= MOST { text.to_owned() } else { text.chars().take(MOST).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::super::watermark::tests::{moment, watermark};
    use super::*;

    #[test]
    fn what_is_stored_reads_back() {
        let watermark = watermark();
        assert_eq!(Watermark::from_json(&watermark.to_json()).unwrap(), watermark);
    }

    #[test]
    fn dead_letters_are_counted_beside_the_rows_and_what_knows_none_is_read() {
        let mut watermark = watermark();
        assert!(!String::from_utf8(watermark.to_json()).unwrap().contains("letters"));
        watermark.letters = 7;
        let json = String::from_utf8(watermark.to_json()).unwrap();
        assert!(json.contains(r#""bytes":0,"letters":7,"#), "{json}");
        assert_eq!(Watermark::from_json(json.as_bytes()).unwrap(), watermark);
        let error = Watermark::from_json(json.replace(":7,", ":-7,").as_bytes()).unwrap_err();
        assert!(error.contains("letters"), "{error}");
    }

    #[test]
    fn the_stored_form_is_flat_and_readable() {
        let json = String::from_utf8(watermark().to_json()).unwrap();
        assert_eq!(
            json,
            concat!(
                r#"{"version":1,"mode":"xmin","xmin":0,"table_oid":16384,"leaves":"0:16390;700:16384,16391","#,
                r#""sweep":"16384 813 24576 (0,0);16390 700 16390 (128,0)","rows":12,"bytes":0,"xmax":823,"#,
                r#""system_identifier":"18446744073709551612","database_oid":5,"timeline":1,"in_recovery":false,"#,
                r#""postmaster_start":1732400000000001,"stats_reset":0,"#,
                r#""history":"700 2/5 1000 u;813 2/5 1010 u"}"#
            )
        );
    }

    #[test]
    fn malformed_states_are_refused_with_the_field() {
        let good = String::from_utf8(watermark().to_json()).unwrap();
        for (from, to, field) in [
            ("\"version\":1", "\"version\":2", "version"),
            ("\"mode\":\"xmin\"", "\"mode\":\"binlog\"", "mode"),
            ("\"table_oid\":16384", "\"table_oid\":-1", "table_oid"),
            ("\"rows\":12", "\"rows\":1.5", "rows"),
            ("\"timeline\":1", "\"timeline\":\"x\"", "timeline"),
            ("0:16390;", "0:16390;;700:16390;", "leaves"),
            ("0:16390;", "0;", "leaves"),
            ("16390 700 16390 (128,0)", "16390 700 16390", "sweep"),
            ("16390 700 16390 (128,0)", "99 700 16390 (128,0)", "sweep"),
            ("16384 813 24576", "16384 600 24576", "sweep"),
            ("700 2/5 1000 u", "700 2/5 1000 x", "history"),
            ("18446744073709551612", "18446744073709551616", "system_identifier"),
        ] {
            let bad = good.replace(from, to);
            assert_ne!(bad, good, "{from}");
            let error = Watermark::from_json(bad.as_bytes()).unwrap_err();
            assert!(error.contains(field), "{field}: {error}");
        }
        for bad in ["", "null", "[]", "{}", "{\"version\":1}"] {
            assert!(Watermark::from_json(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn five_thousand_leaves_stay_below_the_limit() {
        let leaves: Vec<u32> = (4_000_000_000..4_000_005_000).collect();
        let mut watermark = Watermark::new(Reading::xmin(), 1, &moment(u64::from(u32::MAX)));
        watermark.begin_sweep(&leaves, &moment(u64::from(u32::MAX)), 0);
        for leaf in &leaves {
            watermark.finish_sweep(*leaf);
        }
        assert!(watermark.to_json().len() < 60_000);
        watermark.begin_sweep(&leaves, &moment(1 << 33), 5);
        assert!(watermark.to_json().len() < 60_000, "a sweep that has not begun takes no room");
    }

    #[test]
    fn a_cursors_two_streams_and_its_bounds_read_back() {
        let mut cursor = watermark();
        cursor.reading =
            Reading { mode: "timestamp".into(), cursor: "at".into(), query: String::new(), shape: "0a".into() };
        let values = Values { timestamp: Some("2024-01-01 \"x\"".into()), incrementing: None };
        cursor.bounds.add(Bound { xmax: 650, values });
        cursor.leaves.get_mut(&16384).unwrap().swept = 600;
        cursor.leaves.get_mut(&16384).unwrap().again =
            Some(Sweep { to: 690, filenode: 7, next: super::super::Tid { block: 3, offset: 0 } });
        cursor.deliver_ahead(16391, [815, 820]);
        cursor.pass_at = 5;
        assert_eq!(Watermark::from_json(&cursor.to_json()).unwrap(), cursor);
    }

    #[test]
    fn a_querys_position_reads_back() {
        let reading =
            Reading { mode: "incrementing".into(), cursor: "id".into(), query: "abc".into(), shape: String::new() };
        let mut query = Watermark::new(reading, 0, &moment(700));
        query.position.incrementing = Some("9007199254740993".into());
        assert_eq!(Watermark::from_json(&query.to_json()).unwrap(), query);
    }
}
