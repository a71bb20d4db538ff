//! Findings for people and for scripts.

use std::io::{self, Write as _};
use std::process::ExitCode;

use comfy_table::{Attribute, Cell, Color};

use crate::cli::exit::Exit;
use crate::cli::messages::say;
use crate::cli::output::{plain_table, stdout, wants_colour, write_table};
use crate::doctor::{Finding, Status};
use key_guard_core::text::sanitize_line;

/// How findings are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For people.
    Table,
    /// One check to a line, for scripts.
    Jsonl,
}

pub(super) fn print_findings(findings: &[Finding], format: Format) -> io::Result<()> {
    match format {
        Format::Table => table(findings),
        Format::Jsonl => jsonl(findings),
    }
}

/// Says how many checks came out how.
pub(super) fn end(findings: &[Finding]) -> ExitCode {
    let count = |status| findings.iter().filter(|finding| finding.status == status).count();
    say(&format!(
        "{} checks: {} ok, {} warn, {} fail, {} unknown",
        findings.len(),
        count(Status::Ok),
        count(Status::Warn),
        count(Status::Fail),
        count(Status::Unknown),
    ));
    if count(Status::Fail) > 0 { Exit::Failed } else { Exit::Done }.into()
}

fn jsonl(findings: &[Finding]) -> io::Result<()> {
    let mut out = stdout();
    for finding in findings {
        serde_json::to_writer(&mut out, finding)?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

fn table(findings: &[Finding]) -> io::Result<()> {
    let mut table = plain_table(wants_colour());
    table.set_header(
        ["CHECK", "STATUS", "FOUND"].map(|title| Cell::new(title).add_attribute(Attribute::Bold)),
    );
    for finding in findings {
        let colour = match finding.status {
            Status::Ok => Color::Green,
            Status::Warn => Color::Yellow,
            Status::Fail => Color::Red,
            Status::Unknown => Color::Cyan,
        };
        table.add_row([
            Cell::new(finding.check.as_str()),
            Cell::new(finding.status.as_str()).fg(colour),
            Cell::new(sanitize_line(&finding.found)),
        ]);
    }
    let mut out = stdout();
    write_table(&mut out, table)?;
    for finding in findings {
        if let Some(fix) = &finding.fix {
            writeln!(out, "\n{}: {}", finding.check.as_str(), sanitize_line(fix))?;
        }
    }
    out.flush()
}
