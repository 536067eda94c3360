//! Bars on a terminal: one for each object that loads, and a quiet line below them. They are fed by the events that the
//! log is made of, so that the loop knows nothing of terminals.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Display, Formatter, Write as _};
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, HumanDuration, MultiProgress, ProgressBar, ProgressState, ProgressStyle};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::Context;

/// The target of an event for each step: object, rows, read and blocks of a sweep, and whether it is a load.
pub const STEP: &str = "strandline::step";
/// The target of lines that tell how far a load is; bars tell the same.
pub const LOADING: &str = "strandline::loading";

/// The terminal's lower end.
#[derive(Clone)]
pub struct Bars(Arc<Screen>);

struct Screen {
    all: MultiProgress,
    state: Mutex<State>,
}

/// What the bars and the line say.
struct State {
    loads: BTreeMap<String, Load>,
    line: ProgressBar,
    connectors: usize,
    objects: BTreeSet<String>,
    failed: BTreeSet<String>,
    rows: u64,
    rate: Rate,
    held_back: Option<String>,
}

struct Load {
    bar: ProgressBar,
    rows: u64,
    rate: Rate,
}

/// Rows a second, over the last moments. None is known before the first of them has passed.
struct Rate {
    since: Instant,
    rows: u64,
    per_second: Option<u64>,
}

impl Default for Bars {
    fn default() -> Self {
        Self::new()
    }
}

impl Bars {
    /// On stderr, below the log.
    pub fn new() -> Self {
        Self::on(MultiProgress::new())
    }

    fn on(all: MultiProgress) -> Self {
        let line = all.add(ProgressBar::new_spinner());
        line.set_style(style("{spinner} {msg}", ProgressStyle::default_spinner()));
        let state = State {
            loads: BTreeMap::new(),
            line,
            connectors: 0,
            objects: BTreeSet::new(),
            failed: BTreeSet::new(),
            rows: 0,
            rate: Rate::new(),
            held_back: None,
        };
        Bars(Arc::new(Screen { all, state: Mutex::new(state) }))
    }

    /// Whether an event says anything to the bars.
    pub fn wants(metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("strandline") && *metadata.level() <= tracing::Level::DEBUG
    }

    fn tell(&self, said: &Said) {
        let Ok(mut state) = self.0.state.lock() else { return };
        if said.step {
            state.step(said, &self.0.all);
        }
        match (said.message.as_str(), &said.object) {
            ("started", _) => state.connectors += 1,
            ("ended", _) => state.connectors = state.connectors.saturating_sub(1),
            ("object found", Some(object)) => {
                state.objects.insert(object.clone());
            }
            ("caught_up", Some(object)) => state.close(object),
            ("object failed", Some(object)) => {
                state.objects.insert(object.clone());
                state.failed.insert(object.clone());
                state.close(object);
            }
            ("no longer held back", _) => state.held_back = None,
            (message, _) if message.starts_with("held back") => {
                state.held_back = Some(said.pid.clone().unwrap_or_else(|| "a transaction".to_owned()));
            }
            _ => {}
        }
        if state.connectors == 0 {
            state.line.finish_and_clear();
            let _ = self.0.all.clear();
        } else {
            let text = state.text();
            state.line.set_message(text);
            state.line.tick();
        }
    }
}

impl State {
    fn step(&mut self, said: &Said, all: &MultiProgress) {
        let Some(object) = &said.object else { return };
        self.rows += said.rows;
        if self.loads.is_empty() {
            self.rate = Rate::new();
        }
        self.rate.add(said.rows);
        if !said.load {
            return;
        }
        let width = self.loads.keys().chain([object]).map(|name| name.chars().count()).max().unwrap_or_default();
        let load = self.loads.entry(object.clone()).or_insert_with(|| {
            let bar = all.insert_before(&self.line, ProgressBar::new(said.blocks));
            bar.set_style(load_style());
            // What an earlier run has read is not this one's speed.
            bar.set_position(said.read);
            bar.reset_eta();
            Load { bar, rows: 0, rate: Rate::new() }
        });
        load.rows += said.rows;
        load.rate.add(said.rows);
        // The bars begin in one column, the names before them.
        load.bar.set_prefix(format!("{object:width$}"));
        load.bar.set_length(said.blocks);
        load.bar.set_position(said.read);
        load.bar.set_message(format!("{} rows{}", HumanCount(load.rows), load.rate));
    }

    fn close(&mut self, object: &str) {
        if let Some(load) = self.loads.remove(object) {
            load.bar.finish_and_clear();
        }
    }

    fn text(&self) -> String {
        let mut text = format!("{} object(s)", self.objects.len());
        if !self.loads.is_empty() {
            let _ = write!(text, ", {} loading", self.loads.len());
        }
        if !self.failed.is_empty() {
            let _ = write!(text, ", {} FAILED", self.failed.len());
        }
        let _ = write!(text, " · {} rows", HumanCount(self.rows));
        // Between deltas nothing comes that could make a rate true.
        if !self.loads.is_empty() {
            let _ = write!(text, "{}", self.rate);
        }
        if let Some(who) = &self.held_back {
            let _ = write!(text, " · held back by {}{who}", crate::cli::pid(who));
        }
        text
    }
}

impl Rate {
    fn new() -> Rate {
        Rate { since: Instant::now(), rows: 0, per_second: None }
    }

    fn add(&mut self, rows: u64) {
        const OVER: Duration = Duration::from_secs(2);
        self.rows += rows;
        let elapsed = self.since.elapsed();
        if elapsed >= OVER {
            self.per_second = Some((self.rows as f64 / elapsed.as_secs_f64()) as u64);
            (self.rows, self.since) = (0, Instant::now());
        }
    }
}

/// `, 310,000/s`, or nothing.
impl Display for Rate {
    fn fmt(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        self.per_second.map_or(Ok(()), |rows| write!(out, ", {}/s", HumanCount(rows)))
    }
}

fn style(template: &str, otherwise: ProgressStyle) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or(otherwise)
}

/// `public.orders  ━━━━━━──────  43 %  1,204,000 rows, 310,000/s, 12 seconds left`.
fn load_style() -> ProgressStyle {
    let left = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
        let known = state.pos() > 0 && state.len().is_some_and(|blocks| blocks > state.pos());
        if known {
            let _ = write!(out, ", {:#} left", HumanDuration(state.eta()));
        }
    };
    style("{prefix}  {bar:24}  {percent} %  {msg}{left}", ProgressStyle::default_bar())
        .progress_chars("━╸─")
        .with_key("left", left)
}

/// The fields of an event that matter here.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    step: bool,
    message: String,
    object: Option<String>,
    pid: Option<String>,
    load: bool,
    rows: u64,
    read: u64,
    blocks: u64,
}

impl Visit for Said {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "rows" => self.rows = value,
            "read" => self.read = value,
            "blocks" => self.blocks = value,
            _ => {}
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "load" {
            self.load = value;
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            "object" => self.object = Some(format!("{value:?}")),
            "pid" => self.pid = Some(format!("{value:?}")),
            _ => {}
        }
    }
}

impl<S: Subscriber> Layer<S> for Bars {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut said = Said { step: event.metadata().target() == STEP, ..Said::default() };
        event.record(&mut said);
        self.tell(&said);
    }
}

/// Lines of the log, above the bars.
impl<'a> MakeWriter<'a> for Bars {
    type Writer = Bars;

    fn make_writer(&'a self) -> Bars {
        self.clone()
    }
}

impl Write for Bars {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.all.suspend(|| io::stderr().write(line))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use indicatif::{InMemoryTerm, ProgressDrawTarget};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// What the terminal shows after these events.
    fn screen(log: impl FnOnce()) -> String {
        let terminal = InMemoryTerm::new(10, 100);
        let bars = Bars::on(MultiProgress::with_draw_target(ProgressDrawTarget::term_like(Box::new(terminal.clone()))));
        // The clone keeps them on the screen.
        tracing::subscriber::with_default(tracing_subscriber::registry().with(bars.clone()), log);
        terminal.contents()
    }

    fn step(object: &str, load: bool, rows: u64, read: u64) {
        tracing::debug!(target: STEP, object = %object, load, rows, read, blocks = 200_u64, "step");
    }

    #[test]
    fn a_loading_object_has_a_bar_with_rows_and_share() {
        let shown = screen(|| {
            tracing::info!("started");
            tracing::info!(object = "public.orders", "object found");
            step("public.orders", true, 1000, 50);
            step("public.orders", true, 1000, 100);
        });
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[0].starts_with("public.orders  ━━━━━━━━━━━━"), "{shown}");
        assert!(lines[0].contains(" 50 %  2,000 rows"), "{shown}");
        assert!(lines[1].contains("1 object(s), 1 loading · 2,000 rows"), "{shown}");
    }

    /// Found by looking: a load's first rows were counted over the time in which nothing was loaded.
    #[test]
    fn the_rate_of_all_begins_with_a_load() {
        let terminal = InMemoryTerm::new(10, 100);
        let bars = Bars::on(MultiProgress::with_draw_target(ProgressDrawTarget::term_like(Box::new(terminal))));
        let mut state = bars.0.state.lock().unwrap();
        state.rate.since = state.rate.since.checked_sub(Duration::from_secs(60)).unwrap();
        let said = Said { object: Some("a".to_owned()), load: true, rows: 10, ..Said::default() };
        state.step(&said, &bars.0.all);
        assert!(state.rate.per_second.is_none() && state.rate.since.elapsed() < Duration::from_secs(30));
    }

    /// Found by looking: in its first instant a load made a million rows a second.
    #[test]
    fn a_rate_is_told_once_it_is_known() {
        let mut rate = Rate::new();
        rate.add(5_000);
        assert_eq!(rate.to_string(), "");
        rate.since = rate.since.checked_sub(Duration::from_secs(4)).unwrap();
        rate.add(3_000);
        let told = rate.to_string();
        // A machine that stalls makes it slower, never faster.
        let slower = told.starts_with(", 1,") && told.len() == ", 1,999/s".len();
        assert!(slower || told.starts_with(", 2,000/s"), "{told}");
    }

    #[test]
    fn bars_begin_in_one_column() {
        let shown = screen(|| {
            tracing::info!("started");
            step("public.orders", true, 1000, 50);
            step("a", true, 1000, 50);
            step("public.orders", true, 1000, 100);
            step("a", true, 1000, 100);
        });
        let columns: Vec<_> = shown.lines().take(2).map(|line| line.find('━')).collect();
        assert!(columns[0].is_some() && columns[0] == columns[1], "{shown}");
    }

    #[test]
    fn what_has_caught_up_leaves_one_quiet_line() {
        let shown = screen(|| {
            tracing::info!("started");
            step("a", true, 10, 200);
            tracing::info!(object = %"a", "caught_up");
            step("a", false, 3, 200);
            tracing::info!(pid = %"77", "held back by an open transaction: rows wait");
        });
        assert_eq!(shown.lines().count(), 1, "{shown}");
        assert!(shown.contains("13 rows") && shown.ends_with("held back by pid 77"), "{shown}");
    }

    #[test]
    fn an_object_that_failed_is_counted_once_among_all() {
        let shown = screen(|| {
            tracing::info!("started");
            tracing::info!(object = %"a", "object found");
            tracing::error!(object = %"a", "object failed");
            tracing::error!(object = %"b", "object failed");
            tracing::info!(object = %"c", "object found");
        });
        assert!(shown.contains("3 object(s), 2 FAILED · 0 rows"), "{shown}");
    }

    #[test]
    fn the_end_clears_the_screen() {
        let shown = screen(|| {
            tracing::info!("started");
            step("a", true, 10, 20);
            tracing::error!(object = %"a", "object failed");
            tracing::info!("ended");
        });
        assert_eq!(shown, "");
    }
}
