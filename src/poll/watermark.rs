//! The progress of one object, and its JSON: the source offset in the offsets topic (`docs/offsets.md`).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::chunk::Tid;
use super::history::{Entry, History, Verdict};
use super::moment::{Lsn, Markers, Moment};
use super::window::Window;

/// How far an object has been delivered, and what must hold for that to be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// The table's OID (a partitioned table's own): another table under the same name is loaded anew.
    pub table: u32,
    /// The server that it was read from.
    pub markers: Markers,
    /// The highest `xmax` of a snapshot.
    pub xmax: u64,
    /// What is read, by OID: the table itself, or the leaves of a partitioned one. A detached leaf stays.
    pub leaves: BTreeMap<u32, Leaf>,
    /// What to fall back to.
    pub history: History,
    /// Rows delivered since the state began.
    pub rows: u64,
    /// Bytes of keys and values delivered since the state began.
    pub bytes: u64,
}

/// The progress of one table that holds rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaf {
    /// Every version with an id below is delivered; 0: none.
    pub floor: u64,
    /// The sweep under way.
    pub sweep: Option<Sweep>,
}

/// A sweep that has begun: its window is `floor` to `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sweep {
    /// The window's end.
    pub to: u64,
    /// The file that it reads: places hold within one file only. 0: not opened yet.
    pub filenode: u32,
    /// Everything before is delivered.
    pub next: Tid,
}

impl Leaf {
    /// The window of the sweep under way.
    pub fn window(&self) -> Option<Window> {
        self.sweep.map(|sweep| Window { from: self.floor, to: sweep.to })
    }
}

/// The version of the stored form.
const VERSION: u64 = 1;

impl Watermark {
    /// Nothing delivered yet.
    pub fn new(table: u32, moment: &Moment) -> Self {
        Watermark {
            table,
            markers: moment.markers.clone(),
            xmax: moment.snapshot.xmax,
            leaves: BTreeMap::new(),
            history: History::default(),
            rows: 0,
            bytes: 0,
        }
    }

    /// The lowest floor of the given leaves: what the object as a whole has reached.
    pub fn floor(&self, leaves: impl IntoIterator<Item = u32>) -> u64 {
        leaves.into_iter().map(|oid| self.leaves.get(&oid).map_or(0, |leaf| leaf.floor)).min().unwrap_or(0)
    }

    /// Begins a sweep of every given leaf that has something to read below the moment's `xmin` and no sweep under way.
    /// Whether any is under way now.
    pub fn begin_sweep(&mut self, leaves: &[u32], moment: &Moment, now: i64) -> bool {
        let to = moment.snapshot.xmin;
        self.xmax = self.xmax.max(moment.snapshot.xmax);
        let mut begun = false;
        for oid in leaves {
            let leaf = self.leaves.entry(*oid).or_default();
            if leaf.sweep.is_none() && leaf.floor < to {
                leaf.sweep = Some(Sweep { to, filenode: 0, next: Tid::default() });
                begun = true;
            }
        }
        if begun {
            self.history.note(moment, now);
        }
        leaves.iter().any(|oid| self.leaves.get(oid).is_some_and(|leaf| leaf.sweep.is_some()))
    }

    /// The sweep of this leaf has read everything.
    pub fn finish_sweep(&mut self, leaf: u32) {
        if let Some(leaf) = self.leaves.get_mut(&leaf)
            && let Some(sweep) = leaf.sweep.take()
        {
            leaf.floor = leaf.floor.max(sweep.to);
        }
    }

    /// Goes back to what survived. Whether anything will be read again.
    pub fn follow(&mut self, verdict: &Verdict, moment: &Moment) -> bool {
        let mut again = false;
        match verdict {
            Verdict::Same => return false,
            Verdict::FallBack { xmin, .. } => {
                for leaf in self.leaves.values_mut() {
                    again |= leaf.floor > *xmin || leaf.sweep.is_some_and(|sweep| sweep.to > *xmin);
                    leaf.floor = leaf.floor.min(*xmin);
                    leaf.sweep = leaf.sweep.filter(|sweep| sweep.to <= *xmin);
                }
                self.history.fall_back(*xmin);
            }
            Verdict::LoadAgain { .. } => {
                again = true;
                self.leaves.clear();
                self.history = History::default();
            }
        }
        self.markers = moment.markers.clone();
        self.xmax = moment.snapshot.xmax;
        again
    }

    /// The source offset: one flat object of primitives, lists as compact strings.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = Map::new();
        let mut put = |key: &str, value: Value| json.insert(key.to_owned(), value);
        put("version", VERSION.into());
        put("mode", "xmin".into());
        put("xmin", self.leaves.values().map(|leaf| leaf.floor).min().unwrap_or(0).into());
        put("table_oid", self.table.into());
        put("leaves", self.leaves_text().into());
        put("sweep", self.sweeps_text().into());
        put("rows", self.rows.into());
        put("bytes", self.bytes.into());
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
        match (fields.number::<u64>("version")?, fields.text("mode")?) {
            (VERSION, "xmin") => {}
            (VERSION, mode) => return Err(format!("`mode` is `{mode}`, which this version cannot continue")),
            (version, _) => return Err(format!("`version` is {version}; this version of Strandline reads {VERSION}")),
        }
        let mut watermark = Watermark {
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
        };
        watermark.read_leaves(fields.text("leaves")?)?;
        watermark.read_sweeps(fields.text("sweep")?)?;
        watermark.read_history(fields.text("history")?)?;
        Ok(watermark)
    }

    /// `floor:oid,oid;floor:oid`, since nearly all leaves share a floor.
    fn leaves_text(&self) -> String {
        let mut by_floor: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        for (oid, leaf) in &self.leaves {
            by_floor.entry(leaf.floor).or_default().push(oid.to_string());
        }
        let groups: Vec<String> = by_floor.iter().map(|(floor, oids)| format!("{floor}:{}", oids.join(","))).collect();
        groups.join(";")
    }

    fn read_leaves(&mut self, text: &str) -> Result<(), String> {
        let wrong = || format!("`leaves` is `{}`, not floor:oid,oid;…", shorten(text));
        for group in text.split(';').filter(|group| !group.is_empty()) {
            let (floor, oids) = group.split_once(':').ok_or_else(wrong)?;
            let floor = floor.parse().map_err(|_| wrong())?;
            for oid in oids.split(',') {
                let leaf = Leaf { floor, sweep: None };
                if self.leaves.insert(oid.parse().map_err(|_| wrong())?, leaf).is_some() {
                    return Err(format!("`leaves` names {oid} twice"));
                }
            }
        }
        Ok(())
    }

    /// `oid to filenode (block,offset);…`, usually one: a sweep that has opened no file yet begins anew after a restart,
    /// and costs no room here.
    fn sweeps_text(&self) -> String {
        let mut text = String::new();
        for (oid, leaf) in &self.leaves {
            if let Some(Sweep { to, filenode, next }) = leaf.sweep
                && filenode != 0
            {
                let gap = if text.is_empty() { "" } else { ";" };
                let _ = write!(text, "{gap}{oid} {to} {filenode} {next}");
            }
        }
        text
    }

    fn read_sweeps(&mut self, text: &str) -> Result<(), String> {
        for sweep in text.split(';').filter(|sweep| !sweep.is_empty()) {
            let wrong = || format!("`sweep` holds `{}`, not oid to filenode (block,offset)", shorten(sweep));
            let parts: Vec<&str> = sweep.split(' ').collect();
            let [oid, to, filenode, next] = parts[..] else { return Err(wrong()) };
            let oid: u32 = oid.parse().map_err(|_| wrong())?;
            let sweep = Sweep {
                to: to.parse().map_err(|_| wrong())?,
                filenode: filenode.parse().map_err(|_| wrong())?,
                next: next.parse().map_err(|_| wrong())?,
            };
            match self.leaves.get_mut(&oid) {
                Some(leaf) if leaf.floor < sweep.to => leaf.sweep = Some(sweep),
                Some(_) => return Err(format!("`sweep` of {oid} ends below its floor")),
                None => return Err(format!("`sweep` names {oid}, which `leaves` does not")),
            }
        }
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
    use super::super::history::Why;
    use super::super::moment::Snapshot;
    use super::*;

    fn moment(xmin: u64) -> Moment {
        Moment {
            snapshot: Snapshot { xmin, xmax: xmin + 10 },
            lsn: Lsn(1 << 33 | 5),
            flushed: Lsn(1 << 33),
            replayed: None,
            markers: Markers {
                system: u64::MAX - 3,
                database: 5,
                timeline: 1,
                in_recovery: false,
                started: 1_732_400_000_000_001,
                stats_reset: 0,
            },
        }
    }

    fn watermark() -> Watermark {
        let mut watermark = Watermark::new(16384, &moment(700));
        watermark.begin_sweep(&[16384, 16390, 16391], &moment(700), 1000);
        watermark.finish_sweep(16384);
        watermark.finish_sweep(16391);
        watermark.begin_sweep(&[16384, 16390], &moment(813), 1010);
        watermark.leaves.get_mut(&16384).unwrap().sweep.as_mut().unwrap().filenode = 24576;
        let sweep = watermark.leaves.get_mut(&16390).unwrap().sweep.as_mut().unwrap();
        (sweep.filenode, sweep.next) = (16390, Tid { block: 128, offset: 0 });
        watermark.rows = 12;
        watermark
    }

    #[test]
    fn what_is_stored_reads_back() {
        let watermark = watermark();
        assert_eq!(Watermark::from_json(&watermark.to_json()).unwrap(), watermark);
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
    fn a_leaf_that_appears_is_loaded_in_full_and_one_under_way_keeps_its_end() {
        let watermark = watermark();
        assert_eq!(watermark.leaves[&16390].window(), Some(Window { from: 0, to: 700 }));
        assert_eq!(watermark.leaves[&16384].window(), Some(Window { from: 700, to: 813 }));
        assert_eq!(watermark.floor([16384, 16390]), 0);
        assert_eq!(watermark.floor([16384, 16391]), 700);
    }

    #[test]
    fn an_unmoved_xmin_begins_no_sweep() {
        let mut watermark = Watermark::new(1, &moment(700));
        assert!(watermark.begin_sweep(&[1], &moment(700), 0));
        watermark.finish_sweep(1);
        assert!(!watermark.begin_sweep(&[1], &moment(700), 5));
    }

    #[test]
    fn falling_back_lowers_floors_and_drops_only_sweeps_beyond() {
        let mut fallen = watermark();
        let verdict = Verdict::FallBack { xmin: 700, lsn: Lsn(5), why: Why::Restarted };
        assert!(fallen.follow(&verdict, &moment(690)));
        assert_eq!(fallen.leaves[&16384], Leaf { floor: 700, sweep: None });
        // The load of 16390 had a window that survived: it goes on where it was.
        assert_eq!(fallen.leaves[&16390].sweep.unwrap().next, Tid { block: 128, offset: 0 });
        assert!(fallen.history.entries().iter().all(|entry| entry.xmin <= 700));

        let mut reloaded = watermark();
        assert!(reloaded.follow(&Verdict::LoadAgain { why: Why::NothingLeft }, &moment(690)));
        assert_eq!(reloaded.floor([16384]), 0);
    }

    #[test]
    fn malformed_states_are_refused_with_the_field() {
        let good = String::from_utf8(watermark().to_json()).unwrap();
        for (from, to, field) in [
            ("\"version\":1", "\"version\":2", "version"),
            ("\"mode\":\"xmin\"", "\"mode\":\"bulk\"", "mode"),
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
        let mut watermark = Watermark::new(1, &moment(u64::from(u32::MAX)));
        watermark.begin_sweep(&leaves, &moment(u64::from(u32::MAX)), 0);
        for leaf in &leaves {
            watermark.finish_sweep(*leaf);
        }
        assert!(watermark.to_json().len() < 60_000);
        watermark.begin_sweep(&leaves, &moment(1 << 33), 5);
        assert!(watermark.to_json().len() < 60_000, "a sweep that has not begun takes no room");
    }
}
