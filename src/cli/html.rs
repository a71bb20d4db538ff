//! `report`: the ledger to look at, in one HTML file that fetches nothing.
//!
//! Whatever came from an event is put into the page as JSON, and from there into the document as text; into the
//! charts it is escaped by the library that draws them. The page's own policy allows its one script, by hash.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, Datelike as _, Days, NaiveDate, TimeDelta, Utc};
use plotters::coord::ranged1d::SegmentedCoord;
use plotters::coord::types::RangedCoordi32;
use plotters::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::exit::{Exit, ended};
use super::export::Output;
use super::filters::{Filters, short};
use super::lookup::who;
use super::messages::say;
use super::progress::Progress;
use super::rows::fit_to_print;
use super::rows::outcome_word;
use super::setup::{LedgerPlace, runtime, to_read};
use super::stats::{Stats, seconds_to_assessment};
use crate::clock::{Clock, SystemClock};
use crate::ledger::query::Search;
use crate::ledger::view::{KeyView, KnownExpiration};
use key_guard_core::key::UserName;
use key_guard_core::policy::{Verdict, Violation};
use key_guard_core::remediation::{Contact, Remediation};

const STYLE: &str = include_str!("html/style.css");
const SCRIPT: &str = include_str!("html/script.js");

/// Writes the ledger as one HTML file with charts and a table, for people who would rather look than read
///
/// The file needs no network, shows light or dark as the reader's system does, and prints.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bedrock-key-guard report
      the last 90 days, as bedrock-keys.html
  bedrock-key-guard report --account 111122223333 --output account.html
      all keys of an account

Exit codes:
  0 done   1 failed   2 usage   4 some items could not be read, the rest are shown")]
pub struct Html {
    #[command(flatten)]
    filters: Filters,

    /// The ledger: `file:PATH` or `dynamodb:TABLE`
    #[arg(long, default_value = "file:key-guard.db", value_name = "LEDGER")]
    ledger: LedgerPlace,

    /// Whom owners of keys ask, as the remediation says: an e-mail address, a URL
    #[arg(long, value_name = "TEXT")]
    contact: Option<Contact>,

    /// Where to: a file, or - for stdout
    #[arg(long, default_value = "bedrock-keys.html", value_name = "FILE")]
    output: PathBuf,
}

impl Html {
    /// Runs it.
    ///
    /// # Errors
    /// When it could not do its work: exit code 1.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let now = SystemClock.now();
        let (filter, note) = match self.filters.at(now) {
            Ok(question) => question,
            Err(wrong) => {
                say(&format!("error: {wrong}"));
                return Ok(Exit::Usage.into());
            }
        };
        if let Some(note) = &note {
            say(&format!("note: {note}"));
        }
        let range = (filter.since, filter.until);
        let runtime = runtime()?;
        runtime.block_on(async {
            let store = to_read(&self.ledger).await?;
            let mut search = match Search::new(&store, filter, None, usize::MAX, now) {
                Ok(search) => search,
                Err(too_many) => {
                    say(&format!("error: {too_many}"));
                    return Ok(Exit::Usage.into());
                }
            };
            let (mut page, mut unreadable) = (Page::default(), 0);
            let progress = Progress::of_items(false);
            loop {
                let found = search.next().await;
                unreadable += progress.warn_unreadable(&search.unreadable());
                let Some(found) = found? else { break };
                // A key that has a state is not shown by its dry run, too.
                if let Some(view) = found.views.into_iter().next() {
                    page.add(&fit_to_print(view.with_contact(self.contact.as_ref())));
                }
                progress.advance(1);
            }
            drop(progress);
            let output = Output::begin(&self.output, &self.ledger)?;
            let mut to = output.writer()?;
            page.write(&mut to, range, now).context("could not write the report")?;
            drop(to);
            output.end()?;
            let keys = page.stats.keys();
            say(&format!("{keys} keys; {} calls, {} read units", search.cost().calls, search.cost().units));
            Ok(ended(unreadable))
        })
    }
}

/// The verdicts in the order in which they are stacked, with their colours: those of `style.css`. A key that was not
/// assessed is undetermined.
const VERDICTS: [(Verdict, RGBColor); 4] = [
    (Verdict::Compliant, RGBColor(0x2f, 0x8f, 0x5b)),
    (Verdict::Exempt, RGBColor(0x3d, 0x7f, 0xb8)),
    (Verdict::Noncompliant, RGBColor(0xc9, 0x3f, 0x3f)),
    (Verdict::Undetermined, RGBColor(0xc9, 0x8a, 0x1b)),
];
const NEUTRAL: RGBColor = RGBColor(0x6b, 0x76, 0x86);
const LINES: RGBColor = RGBColor(0xd9, 0xdc, 0xe1);
const LABELS: (&str, i32) = ("sans-serif", 16);

/// Up to how many days; then longer, never, and not known.
const LIFETIMES: [i64; 6] = [1, 7, 30, 90, 180, 365];
const LIFETIME_NAMES: [&str; 9] =
    ["1 d", "7 d", "30 d", "90 d", "180 d", "365 d", "longer", "never", "unread"];

/// Up to how many seconds; then longer.
const SECONDS: [u32; 6] = [5, 10, 30, 60, 300, 3_600];
const SECONDS_NAMES: [&str; 7] = ["5 s", "10 s", "30 s", "1 min", "5 min", "1 h", "longer"];

/// How many actors a chart shows.
const ACTORS: usize = 8;

/// Stands for "never ends" among numbers of days.
const NEVER: i64 = 1_000_000;

type Counts = [u64; 4];

/// What the report shows.
#[derive(Debug, Default)]
struct Page {
    stats: Stats,
    days: BTreeMap<NaiveDate, Counts>,
    lifetimes: [Counts; 9],
    limits: BTreeSet<u32>,
    actors: HashMap<String, Counts>,
    seconds: [u64; 7],
    noncompliant: u64,
    acted: u64,
    pending: u64,
    /// Each text once: rows name them by number.
    texts: Vec<String>,
    numbers: HashMap<String, usize>,
    rows: Vec<Value>,
}

impl Page {
    fn add(&mut self, view: &KeyView) {
        self.stats.count(view);
        let report = &view.report;
        let standing = report.verdict.unwrap_or(Verdict::Undetermined);
        let verdict = VERDICTS.iter().position(|(verdict, _)| *verdict == standing).unwrap_or_default();
        let count = |counts: Option<&mut Counts>| {
            if let Some(count) = counts.and_then(|counts| counts.get_mut(verdict)) {
                *count += 1;
            }
        };
        let lives = report.created_at.zip(report.expires_at).map(|(created, end)| end - created);
        let days = match view.expiration {
            None | Some(KnownExpiration::Undetermined) => None,
            Some(KnownExpiration::Never) => Some(NEVER),
            Some(KnownExpiration::At(_)) => lives.map(|lives| lives.num_days()),
        };
        let lifetime = match (days, lives) {
            (None, _) => LIFETIMES.len() + 2,
            _ if report.violation == Some(Violation::NeverExpires) || days == Some(NEVER) => {
                LIFETIMES.len() + 1
            }
            // A second over is over.
            (Some(_), Some(lives)) => {
                LIFETIMES.iter().position(|limit| lives <= TimeDelta::days(*limit)).unwrap_or(LIFETIMES.len())
            }
            (Some(_), None) => LIFETIMES.len(),
        };
        let actor = view.creation.as_ref().and_then(|event| event.actor.principal.as_deref());
        let actor = actor.map_or_else(|| "unknown".to_owned(), who);
        count(Some(self.days.entry(view.at.date_naive()).or_default()));
        count(self.lifetimes.get_mut(lifetime));
        count(Some(self.actors.entry(actor.clone()).or_default()));
        self.limits.extend(report.limit_days);
        let seconds = seconds_to_assessment(view);
        if let Some(seconds) = seconds {
            let bucket = SECONDS.iter().position(|limit| seconds <= *limit).unwrap_or(SECONDS.len());
            if let Some(count) = self.seconds.get_mut(bucket) {
                *count += 1;
            }
        }
        self.noncompliant += u64::from(report.verdict == Some(Verdict::Noncompliant));
        self.acted += u64::from(view.acted_at.is_some());
        self.pending += u64::from(view.intent.is_some());
        self.add_row(view, days, seconds, &actor);
    }

    fn add_row(&mut self, view: &KeyView, days: Option<i64>, seconds: Option<u32>, actor: &str) {
        let report = &view.report;
        let row = json!([
            view.at.timestamp(),
            view.key.id,
            self.number(report.verdict.map_or("–", Verdict::as_str)),
            report.violation.map(|violation| self.number(violation.as_str())),
            self.number(&outcome_word(view).replace('_', " ")),
            days,
            self.number(report.user.as_ref().map_or("–", UserName::as_str)),
            self.number(view.key.account.as_str()),
            self.number(report.service.as_ref().map_or("–", short)),
            self.number(actor),
            report.source_ip.as_deref().map(|text| self.number(text)),
            report.user_agent.as_deref().map(|text| self.number(text)),
            seconds,
            report.remediation.as_deref().map(|remediation| self.sentences(remediation)),
        ]);
        self.rows.push(row);
    }

    /// Most sentences are those of many keys.
    fn sentences(&mut self, remediation: &Remediation) -> Vec<usize> {
        remediation.sentences().iter().map(|sentence| self.number(sentence)).collect()
    }

    fn number(&mut self, text: &str) -> usize {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.texts.len();
        self.texts.push(text.to_owned());
        self.numbers.insert(text.to_owned(), number);
        number
    }

    fn write(
        &self,
        to: &mut dyn Write,
        range: (Option<DateTime<Utc>>, Option<DateTime<Utc>>),
        now: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        let hash = BASE64.encode(Sha256::digest(SCRIPT));
        let time = |time: DateTime<Utc>| time.format("%Y-%m-%d %H:%M").to_string();
        let range = match range {
            (None, None) => "all times".to_owned(),
            (Some(since), None) => format!("since {}", time(since)),
            (None, Some(until)) => format!("until {}", time(until)),
            (Some(since), Some(until)) => format!("{} to {}", time(since), time(until)),
        };
        write!(
            to,
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'; \
             script-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <link rel=\"icon\" href=\"data:,\">\n\
             <title>Bedrock API keys</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
             <h1>Bedrock API keys</h1>\n<p>{range}, as of {} (UTC).</p>\n",
            time(now)
        )?;
        self.tiles(to)?;
        writeln!(to, "<section class=\"charts\">")?;
        self.charts(to)?;
        writeln!(to, "</section>")?;
        self.table(to)?;
        write!(to, "<script>{SCRIPT}</script>\n</body>\n</html>\n")?;
        Ok(to.flush()?)
    }

    fn tiles(&self, to: &mut dyn Write) -> io::Result<()> {
        writeln!(to, "<ul class=\"tiles\">")?;
        let (median, worst) = match self.stats.median_and_worst() {
            None => ("–".to_owned(), "–".to_owned()),
            Some((median, worst)) => (span(median), span(worst)),
        };
        for (value, name) in [
            (self.stats.keys().to_string(), "keys"),
            (self.noncompliant.to_string(), "noncompliant"),
            (self.acted.to_string(), "deactivated or deleted by the guard"),
            (self.pending.to_string(), "pending"),
            (median, "median from event to assessment"),
            (worst, "worst from event to assessment"),
        ] {
            writeln!(to, "<li><b>{value}</b>{name}</li>")?;
        }
        writeln!(to, "</ul>")
    }

    fn charts(&self, to: &mut dyn Write) -> anyhow::Result<()> {
        let (unit, bins) = self.bins();
        let limits: Vec<_> = self.limits.iter().map(u32::to_string).collect();
        let limits = match limits.as_slice() {
            [] => String::new(),
            [one] => format!(" (limit: {one} days)"),
            [first, .., last] => format!(" (limits: {first} to {last} days)"),
        };
        let mut actors: Vec<_> =
            self.actors.iter().map(|(name, counts)| (shortened(name), *counts)).collect();
        actors.sort_by(|a, b| b.1.iter().sum::<u64>().cmp(&a.1.iter().sum()).then_with(|| a.0.cmp(&b.0)));
        actors.truncate(ACTORS);
        // The first is drawn on top.
        actors.reverse();
        let lifetimes = LIFETIME_NAMES.iter().map(|name| (*name).to_owned()).zip(self.lifetimes).collect();
        for (name, title, stacks, across) in [
            ("time", format!("Keys created, by {unit}"), bins, false),
            ("lifetimes", format!("How long keys live{limits}"), lifetimes, false),
            ("actors", "Who creates them".to_owned(), actors, true),
        ] {
            let bars = Bars { stacks, colours: VERDICTS.map(|(_, colour)| colour), across };
            figure(to, name, &title, (self.stats.keys() > 0).then(|| bars.draw()).transpose()?)?;
        }
        let bars = SECONDS_NAMES.iter().zip(self.seconds);
        let stacks = bars.map(|(name, count)| ((*name).to_owned(), [count, 0, 0, 0])).collect();
        let bars = Bars { stacks, colours: [NEUTRAL; 4], across: false };
        let any = self.seconds.iter().any(|count| *count > 0);
        figure(to, "seconds", "From event to assessment", any.then(|| bars.draw()).transpose()?)
    }

    /// Keys by day, week or month, whichever gives a readable number of bars; without gaps.
    fn bins(&self) -> (&'static str, Vec<(String, Counts)>) {
        let (Some((first, _)), Some((last, _))) = (self.days.first_key_value(), self.days.last_key_value())
        else {
            return ("day", Vec::new());
        };
        let span = (*last - *first).num_days();
        let (unit, begin): (_, fn(NaiveDate) -> NaiveDate) = match span {
            ..=31 => ("day", |day| day),
            32..=400 => ("week", |day| day - Days::new(day.weekday().num_days_from_monday().into())),
            _ => ("month", |day| day.with_day(1).unwrap_or(day)),
        };
        let mut bins: BTreeMap<NaiveDate, Counts> = BTreeMap::new();
        let mut day = *first;
        while day <= *last {
            bins.entry(begin(day)).or_default();
            day = day + Days::new(1);
        }
        for (day, counts) in &self.days {
            for (sum, count) in bins.entry(begin(*day)).or_default().iter_mut().zip(counts) {
                *sum += count;
            }
        }
        let form = if unit == "month" { "%Y-%m" } else { "%b %-d" };
        (unit, bins.into_iter().map(|(day, counts)| (day.format(form).to_string(), counts)).collect())
    }

    fn table(&self, to: &mut dyn Write) -> anyhow::Result<()> {
        let columns = json!([
            {"name": "created", "time": true}, {"name": "key"}, {"name": "verdict", "text": true},
            {"name": "violation", "text": true, "none": "–"}, {"name": "outcome", "text": true},
            {"name": "days", "none": "unreadable", "words": {NEVER.to_string(): "never ends"}},
            {"name": "user", "text": true}, {"name": "account", "text": true}, {"name": "service", "text": true},
            {"name": "created by", "text": true, "long": true},
            {"name": "from", "text": true, "none": "–", "long": true},
            {"name": "with", "text": true, "none": "–", "long": true}, {"name": "seconds", "none": "–"},
            {"name": "what to do", "sentences": true, "none": "–"},
        ]);
        write!(
            to,
            "<form>\n<label>Search<input id=\"find\" type=\"search\" placeholder=\"user, key, address, …\"></label>\n\
             <label>Verdict<select id=\"verdict\"><option value=\"\">all</option>"
        )?;
        for (verdict, _) in VERDICTS {
            write!(to, "<option>{}</option>", verdict.as_str())?;
        }
        write!(
            to,
            "</select></label>\n<button id=\"back\" type=\"button\">Newer</button>\
             <button id=\"on\" type=\"button\">Older</button>\n<output id=\"count\"></output>\n</form>\n\
             <noscript><p>The table needs JavaScript; nothing is fetched.</p></noscript>\n\
             <div class=\"scroll\"><table>\n<thead><tr>"
        )?;
        for (index, column) in columns.as_array().into_iter().flatten().enumerate() {
            let sorted = if index == 0 { " aria-sort=\"descending\"" } else { "" };
            let name = column.get("name").and_then(Value::as_str).unwrap_or_default();
            write!(to, "<th{sorted}><button type=\"button\">{name}</button></th>")?;
        }
        write!(to, "</tr></thead>\n<tbody id=\"rows\"></tbody>\n</table></div>\n")?;
        write!(to, "<script type=\"application/json\" id=\"keys\">{{\"texts\":[")?;
        for (index, text) in self.texts.iter().enumerate() {
            write!(to, "{}{}", if index == 0 { "" } else { "," }, inert(&serde_json::to_string(text)?))?;
        }
        write!(to, "],\"columns\":{columns},\"rows\":[")?;
        for (index, row) in self.rows.iter().enumerate() {
            write!(to, "{}{}", if index == 0 { "" } else { ",\n" }, inert(&row.to_string()))?;
        }
        writeln!(to, "]}}</script>")?;
        Ok(())
    }
}

/// JSON that is only data inside of a script element, too: nothing in it ends the element or begins a comment.
fn inert(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' => text.push_str("\\u003c"),
            '>' => text.push_str("\\u003e"),
            '&' => text.push_str("\\u0026"),
            c => text.push(c),
        }
    }
    text
}

/// Seconds in a unit that keeps the number short.
fn span(seconds: u32) -> String {
    match seconds {
        ..600 => format!("{seconds} s"),
        600..36_000 => format!("{} min", seconds / 60),
        36_000.. => format!("{} h", seconds / 3_600),
    }
}

/// A name that fits beside a bar.
fn shortened(name: &str) -> String {
    const LONGEST: usize = 28;
    let mut text: String = name.chars().take(LONGEST).collect();
    if name.chars().count() > LONGEST {
        text.push('…');
    }
    text
}

fn figure(to: &mut dyn Write, name: &str, title: &str, drawing: Option<String>) -> anyhow::Result<()> {
    write!(to, "<figure id=\"{name}\" aria-label=\"{title}\"><figcaption>{title}</figcaption>")?;
    match drawing {
        None => write!(to, "<p class=\"none\">No key in this ledger says.</p>")?,
        Some(drawing) => {
            to.write_all(drawing.as_bytes())?;
            write!(to, "<ul class=\"legend\">")?;
            if name == "seconds" {
                write!(to, "<li><i class=\"neutral\"></i>keys, by the time they took at most</li>")?;
            } else {
                for (verdict, _) in VERDICTS {
                    write!(to, "<li><i class=\"{0}\"></i>{0}</li>", verdict.as_str())?;
                }
            }
            write!(to, "</ul>")?;
        }
    }
    Ok(writeln!(to, "</figure>")?)
}

type SvgChart<'a, 'b> = ChartBuilder<'a, 'b, SVGBackend<'b>>;

/// Stacked bars.
struct Bars {
    stacks: Vec<(String, Counts)>,
    colours: [RGBColor; 4],
    across: bool,
}

impl Bars {
    /// As SVG.
    fn draw(&self) -> anyhow::Result<String> {
        const SIZE: (u32, u32) = (640, 300);
        // An axis of fewer segments has no width.
        const FEWEST: usize = 4;
        let mut stacks = self.stacks.clone();
        while stacks.len() < FEWEST {
            let none = (String::new(), Counts::default());
            if self.across { stacks.insert(0, none) } else { stacks.push(none) }
        }
        let padded = Self { stacks, colours: self.colours, across: self.across };
        padded.drawn(SIZE)
    }

    fn drawn(&self, size: (u32, u32)) -> anyhow::Result<String> {
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
            let mut chart = ChartBuilder::on(&area);
            chart.margin(8).margin_right(16);
            if self.across { self.draw_across(&mut chart) } else { self.draw_upright(&mut chart) }?;
            area.present().map_err(undrawn)?;
        }
        Ok(svg)
    }

    fn draw_across(&self, chart: &mut SvgChart<'_, '_>) -> anyhow::Result<()> {
        let mut chart = chart
            .x_label_area_size(28)
            .y_label_area_size(236)
            .build_cartesian_2d(self.keys()?, self.bars()?)
            .map_err(undrawn)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .x_labels(5)
            .y_labels(self.stacks.len())
            .y_label_formatter(&|bar| self.name(bar))
            .label_style(LABELS)
            .light_line_style(TRANSPARENT)
            .bold_line_style(LINES)
            .axis_style(LINES)
            .draw()
            .map_err(undrawn)?;
        for (index, low, high, colour) in self.parts() {
            let ends = [(low, SegmentValue::Exact(index)), (high, SegmentValue::Exact(index + 1))];
            let mut bar = Rectangle::new(ends, colour.filled());
            bar.set_margin(4, 4, 0, 0);
            chart.draw_series([bar]).map_err(undrawn)?;
        }
        Ok(())
    }

    fn draw_upright(&self, chart: &mut SvgChart<'_, '_>) -> anyhow::Result<()> {
        let mut chart = chart
            .x_label_area_size(32)
            .y_label_area_size(52)
            .build_cartesian_2d(self.bars()?, self.keys()?)
            .map_err(undrawn)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(self.stacks.len().min(10))
            .y_labels(5)
            .x_label_formatter(&|bar| self.name(bar))
            .label_style(LABELS)
            .light_line_style(TRANSPARENT)
            .bold_line_style(LINES)
            .axis_style(LINES)
            .draw()
            .map_err(undrawn)?;
        let margin = match self.stacks.len() {
            ..=3 => 60,
            4..=20 => 6,
            21.. => 1,
        };
        for (index, low, high, colour) in self.parts() {
            let ends = [(SegmentValue::Exact(index), low), (SegmentValue::Exact(index + 1), high)];
            let mut bar = Rectangle::new(ends, colour.filled());
            bar.set_margin(0, 0, margin, margin);
            chart.draw_series([bar]).map_err(undrawn)?;
        }
        Ok(())
    }

    /// The axis of the bars.
    fn bars(&self) -> anyhow::Result<SegmentedCoord<RangedCoordi32>> {
        let count = i32::try_from(self.stacks.len()).context("too many bars")?;
        Ok((0..count - 1).into_segmented())
    }

    /// The axis of the numbers of keys: a little above the highest bar, and whole numbers at the lines.
    fn keys(&self) -> anyhow::Result<Range<i32>> {
        let highest = self.stacks.iter().map(|(_, counts)| counts.iter().sum::<u64>()).max();
        let highest = i32::try_from(highest.unwrap_or_default()).context("too many keys")?.max(4);
        Ok(0..highest.saturating_add(highest / 12))
    }

    /// What is written at a bar.
    fn name(&self, bar: &SegmentValue<i32>) -> String {
        match bar {
            SegmentValue::CenterOf(index) => usize::try_from(*index)
                .ok()
                .and_then(|index| self.stacks.get(index))
                .map_or_else(String::new, |(name, _)| name.clone()),
            SegmentValue::Exact(_) | SegmentValue::Last => String::new(),
        }
    }

    /// Each bar's parts: which bar, from, to, in which colour.
    fn parts(&self) -> impl Iterator<Item = (i32, i32, i32, RGBColor)> {
        (0_i32..).zip(&self.stacks).flat_map(|(index, (_, counts))| {
            let mut low = 0_i32;
            counts.iter().zip(self.colours).filter(|(count, _)| **count > 0).map(move |(count, colour)| {
                let high = low.saturating_add(i32::try_from(*count).unwrap_or(i32::MAX));
                let part = (index, low, high, colour);
                low = high;
                part
            })
        })
    }
}

fn undrawn(error: impl std::error::Error + Send + Sync + 'static) -> anyhow::Error {
    anyhow::Error::new(error).context("could not draw a chart")
}
