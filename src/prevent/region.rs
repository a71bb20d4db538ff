//! Whose keys a statement is about, in what IAM's language can say of them: which accounts, and which users by
//! the pattern of an ARN. Where it cannot say what the policy file says, less is denied, and a [`Gap`] is left.

use std::collections::BTreeSet;
use std::fmt;

use key_guard_core::key::AccountId;
use key_guard_core::policy::{Layer, Response, wildcard};

/// What is denied of a key, from the least to the most that a limit allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Made without an age: it would never end.
    NoAge,
    /// Made with whatever age.
    Any,
    /// Made with an age of more than so many days.
    Over(u32),
}

impl Level {
    /// Whether a rule forbids that much. A rule that only monitors forbids nothing.
    pub(super) fn is_denied_by(self, layer: &Layer<'_>) -> bool {
        let prevents = match layer.response {
            Response::None | Response::Monitor => false,
            Response::Deactivate | Response::Quarantine | Response::Delete => true,
        };
        prevents
            && match self {
                Self::NoAge => true,
                Self::Any => layer.limit_days == 0,
                Self::Over(days) => layer.limit_days <= days,
            }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAge => f.write_str("without an age"),
            Self::Any => f.write_str("of any age"),
            Self::Over(1) => f.write_str("over 1 day"),
            Self::Over(days) => write!(f, "over {days} days"),
        }
    }
}

/// An exemption that is valid when the document is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exempt<'a> {
    pub(super) account: &'a AccountId,
    pub(super) user: &'a str,
    /// Its last day, in UTC.
    pub(super) until: chrono::NaiveDate,
}

impl fmt::Display for Exempt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the exemption of {} in {}", self.user, self.account)
    }
}

/// What the policy file forbids and the document does not deny.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gap {
    /// A rule's response is `monitor`: it reports keys and lets them be.
    Monitored {
        /// Which rule.
        rule: String,
    },
    /// Users who are left out take others of the same shape with them: in an ARN letters have a case, and `*`
    /// and `?` stand for `/` too.
    SameShape {
        /// Which rule or exemption.
        rule: String,
    },
    /// A stricter rule, or the end of an exemption, is about users whose names have the case of the policy
    /// file only.
    CaseAsWritten {
        /// Which rule, or after which exemption.
        rule: String,
        /// The pattern of names.
        users: String,
    },
    /// A stricter rule's pattern is left out: in an ARN, it would be about users under some paths as well.
    Pathless {
        /// Which rule.
        rule: String,
        /// The pattern of names.
        users: String,
    },
    /// Some users of a stricter rule's pattern are allowed more, and one statement cannot say "all but these"
    /// of a pattern.
    Carved {
        /// Which rule.
        rule: String,
        /// The pattern of names.
        users: String,
        /// What allows more.
        by: String,
        /// What is not denied.
        level: String,
    },
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Monitored { rule } => write!(f, "{rule}: its response is monitor, so nothing is denied"),
            Self::SameShape { rule } => write!(
                f,
                "{rule}: users with similar names are left out, too: ARNs have case and paths, so ? stands for each letter (see --plain-users)"
            ),
            Self::CaseAsWritten { rule, users } => {
                write!(
                    f,
                    "{rule}: keys are denied to {users} only in this spelling, upper and lower case included (see --plain-users)"
                )
            }
            Self::Pathless { rule, users } => write!(
                f,
                "{rule}: nothing more is denied to {users}, since that also matches users under a path in an ARN (see --plain-users)"
            ),
            Self::Carved { rule, users, by, level } => write!(
                f,
                "{rule}: keys {level} are not denied to {users}, because {by} allows more to some of them"
            ),
        }
    }
}

/// The name of a rule in messages.
pub(super) fn name(layer: &Layer<'_>) -> String {
    layer.rule.to_string()
}

/// A set of accounts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Accounts {
    /// These.
    Only(BTreeSet<AccountId>),
    /// All but these, and they may be none.
    AllBut(BTreeSet<AccountId>),
}

impl Accounts {
    fn of(accounts: Option<&[AccountId]>) -> Self {
        match accounts {
            None => Self::AllBut(BTreeSet::new()),
            Some(accounts) => Self::Only(accounts.iter().cloned().collect()),
        }
    }

    fn without(&self, accounts: Option<&[AccountId]>) -> Self {
        let Some(gone) = accounts else { return Self::Only(BTreeSet::new()) };
        match self {
            Self::Only(these) => {
                Self::Only(these.iter().filter(|account| !gone.contains(account)).cloned().collect())
            }
            Self::AllBut(others) => Self::AllBut(others.iter().chain(gone).cloned().collect()),
        }
    }

    fn contains(&self, account: &AccountId) -> bool {
        match self {
            Self::Only(these) => these.contains(account),
            Self::AllBut(others) => !others.contains(account),
        }
    }

    fn overlaps(&self, accounts: Option<&[AccountId]>) -> bool {
        match accounts {
            None => !self.is_empty(),
            Some(accounts) => accounts.iter().any(|account| self.contains(account)),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Only(these) => these.is_empty(),
            Self::AllBut(_) => false,
        }
    }
}

/// Users by name, of one account or of all.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Named {
    /// `None`: all.
    pub(super) account: Option<AccountId>,
    /// In which `*` is any text, and `?` any character.
    pub(super) pattern: String,
}

/// A set of users.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Users {
    /// All but these, and they may be none.
    AllBut(BTreeSet<Named>),
    /// These.
    Only(BTreeSet<Named>),
}

/// Whose keys.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Region {
    pub(super) accounts: Accounts,
    pub(super) users: Users,
}

/// Whose keys are denied at `level`, for the rules of one service. Never anyone else's.
pub(super) fn regions(
    layers: &[&Layer<'_>],
    level: Level,
    exempt: &[Exempt<'_>],
    plain_users: bool,
    gaps: &mut Vec<Gap>,
) -> Vec<Region> {
    let mut regions = Vec::new();
    for (index, strict) in layers.iter().enumerate().filter(|(_, layer)| level.is_denied_by(layer)) {
        if is_redundant(layers, index, level) {
            continue;
        }
        let mut accounts = Accounts::of(strict.accounts);
        let mut carves = Vec::new();
        for loose in layers.iter().skip(index + 1).filter(|layer| !level.is_denied_by(layer)) {
            match patterns(loose) {
                None => accounts = accounts.without(loose.accounts),
                Some(users) => carves.push((*loose, users)),
            }
        }
        carves.retain(|(loose, _)| accounts.overlaps(loose.accounts));
        if accounts.is_empty() {
            continue;
        }
        let carving = Carving { strict, accounts, carves, exempt, level, plain_users };
        match patterns(strict) {
            None => {
                let users = Users::AllBut(carving.all_but(gaps));
                regions.push(Region { accounts: carving.accounts, users });
            }
            Some(users) => regions.extend(carving.only(&users, gaps)),
        }
    }
    regions
}

/// The patterns of a rule that is not for all users.
fn patterns<'a>(layer: &'a Layer<'_>) -> Option<Vec<&'a str>> {
    let users = layer.users.as_ref()?;
    let everyone = users.iter().any(|pattern| pattern.bytes().all(|byte| byte == b'*'));
    (!everyone).then(|| users.clone())
}

/// A strict rule, and what later rules and exemptions leave out of it.
struct Carving<'a, 'p> {
    strict: &'a Layer<'p>,
    accounts: Accounts,
    /// The later rules, and the patterns of their users.
    carves: Vec<(&'a Layer<'p>, Vec<&'a str>)>,
    exempt: &'a [Exempt<'p>],
    level: Level,
    plain_users: bool,
}

impl Carving<'_, '_> {
    /// Who is left out of a rule for all users.
    fn all_but(&self, gaps: &mut Vec<Gap>) -> BTreeSet<Named> {
        let mut out: Vec<Named> = Vec::new();
        for (loose, users) in &self.carves {
            let of: Vec<Option<AccountId>> = match loose.accounts {
                None => vec![None],
                Some(these) => these
                    .iter()
                    .filter(|account| self.accounts.contains(account))
                    .cloned()
                    .map(Some)
                    .collect(),
            };
            for pattern in users {
                note_shape(pattern, || name(loose), self.plain_users, gaps);
                for account in &of {
                    out.push(Named { account: account.clone(), pattern: widened(pattern, self.plain_users) });
                }
            }
        }
        for exemption in self.exempt.iter().filter(|exemption| self.accounts.contains(exemption.account)) {
            note_shape(exemption.user, || exemption.to_string(), self.plain_users, gaps);
            out.push(Named {
                account: Some(exemption.account.clone()),
                pattern: widened(exemption.user, self.plain_users),
            });
        }
        let is_covered = |named: &Named| {
            out.iter().any(|wider| {
                wider != named
                    && (wider.account.is_none() || wider.account == named.account)
                    && covers(&wider.pattern, &named.pattern)
                    && !(named.account == wider.account && covers(&named.pattern, &wider.pattern))
            })
        };
        out.iter().filter(|named| !is_covered(named)).cloned().collect()
    }

    /// Whose keys are denied by a rule for the users of some patterns.
    fn only(&self, users: &[&str], gaps: &mut Vec<Gap>) -> Vec<Region> {
        let mut regions: Vec<Region> = Vec::new();
        for pattern in users {
            if !self.plain_users && !is_exact_in_arn(pattern) {
                leave(gaps, Gap::Pathless { rule: name(self.strict), users: (*pattern).to_owned() });
                continue;
            }
            let accounts = self.accounts_of(pattern, gaps);
            if accounts.is_empty() {
                continue;
            }
            if !self.plain_users && pattern.bytes().any(|byte| byte.is_ascii_alphabetic()) {
                leave(gaps, Gap::CaseAsWritten { rule: name(self.strict), users: (*pattern).to_owned() });
            }
            let named = Named { account: None, pattern: (*pattern).to_owned() };
            match regions.iter_mut().find(|region| region.accounts == accounts) {
                Some(Region { users: Users::Only(these), .. }) => {
                    these.insert(named);
                }
                Some(_) | None => regions.push(Region { accounts, users: Users::Only([named].into()) }),
            }
        }
        regions
    }

    /// The accounts in which nothing allows more to a user of the pattern.
    fn accounts_of(&self, pattern: &str, gaps: &mut Vec<Gap>) -> Accounts {
        let mut accounts = self.accounts.clone();
        let mut carve = |accounts: &mut Accounts, out: Option<&[AccountId]>, exactly: bool, by: String| {
            if !exactly {
                let (rule, users, level) = (name(self.strict), pattern.to_owned(), self.level.to_string());
                leave(gaps, Gap::Carved { rule, users, by, level });
            }
            *accounts = accounts.without(out);
        };
        for (loose, loose_users) in &self.carves {
            if accounts.overlaps(loose.accounts) && loose_users.iter().any(|other| overlaps(pattern, other)) {
                let exactly = loose_users.iter().any(|other| covers(other, pattern));
                carve(&mut accounts, loose.accounts, exactly, name(loose));
            }
        }
        for exemption in self.exempt {
            if accounts.contains(exemption.account)
                && wildcard::matches(pattern.as_bytes(), exemption.user.as_bytes())
            {
                let out = std::slice::from_ref(exemption.account);
                let exactly = covers(exemption.user, pattern);
                carve(&mut accounts, Some(out), exactly, exemption.to_string());
            }
        }
        accounts
    }
}

/// Whether a rule for all users that comes earlier denies the same keys to the same users already, so that a
/// statement of its own would change nothing.
fn is_redundant(layers: &[&Layer<'_>], index: usize, level: Level) -> bool {
    let Some(strict) = layers.get(index) else { return false };
    let (accounts, users) = (Accounts::of(strict.accounts), patterns(strict));
    let allows_one_of_ours = |loose: &Layer<'_>| {
        let same_user = match (&users, patterns(loose)) {
            (None, _) | (_, None) => true,
            (Some(ours), Some(theirs)) => {
                ours.iter().any(|our| theirs.iter().any(|their| overlaps(our, their)))
            }
        };
        !level.is_denied_by(loose) && accounts.overlaps(loose.accounts) && same_user
    };
    layers.iter().take(index).enumerate().any(|(at, wide)| {
        let has_all_of_ours = match (wide.accounts, strict.accounts) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(theirs), Some(ours)) => ours.iter().all(|account| theirs.contains(account)),
        };
        level.is_denied_by(wide)
            && patterns(wide).is_none()
            && has_all_of_ours
            && !layers.iter().take(index).skip(at + 1).any(|between| allows_one_of_ours(between))
    })
}

fn leave(gaps: &mut Vec<Gap>, gap: Gap) {
    if !gaps.contains(&gap) {
        gaps.push(gap);
    }
}

fn note_shape(pattern: &str, rule: impl Fn() -> String, plain_users: bool, gaps: &mut Vec<Gap>) {
    let is_exact = is_exact_in_arn(pattern) && !pattern.bytes().any(|byte| byte.is_ascii_alphabetic());
    if !plain_users && !is_exact {
        leave(gaps, Gap::SameShape { rule: rule() });
    }
}

/// What follows an exemption is denied to the user as the policy file writes the name.
pub(super) fn note_end(exemption: &Exempt<'_>, gaps: &mut Vec<Gap>) {
    let is_noted = gaps.contains(&Gap::SameShape { rule: exemption.to_string() });
    if !is_noted && exemption.user.bytes().any(|byte| byte.is_ascii_alphabetic()) {
        let rule = format!("after {exemption}");
        leave(gaps, Gap::CaseAsWritten { rule, users: exemption.user.to_owned() });
    }
}

/// A pattern that in an ARN matches whom `pattern` matches in any case.
fn widened(pattern: &str, plain_users: bool) -> String {
    if plain_users {
        return pattern.to_owned();
    }
    pattern.chars().map(|c| if c.is_ascii_alphabetic() { '?' } else { c }).collect()
}

/// Whether a pattern means the same of the last part of an ARN as of a name. `*` and `?` stand for `/` too, so
/// what is before them could be part of a path; before a leading `*` there is nothing.
fn is_exact_in_arn(pattern: &str) -> bool {
    !pattern.trim_start_matches('*').contains(['*', '?'])
}

/// Whether a name may fit both patterns, in any case.
fn overlaps(one: &str, other: &str) -> bool {
    meet(one.as_bytes(), other.as_bytes(), true)
}

/// Whether each name that fits `narrow` surely fits `wide`, in any case.
fn covers(wide: &str, narrow: &str) -> bool {
    meet(wide.as_bytes(), narrow.as_bytes(), false)
}

/// Walks two patterns together, from the end. `either`: any name of both will do; else `wide` has to take
/// whatever `narrow` stands for.
fn meet(wide: &[u8], narrow: &[u8], either: bool) -> bool {
    // below[n]: whether the rest of `wide` after the current byte meets narrow[n..].
    let mut below: Vec<bool> = (0..=narrow.len())
        .map(|n| either && narrow.get(n..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*')))
        .collect();
    if let Some(end) = below.last_mut() {
        *end = true;
    }
    for w in wide.iter().rev() {
        let mut here = vec![false; narrow.len() + 1];
        for n in (0..=narrow.len()).rev() {
            let at = |row: &[bool], index: usize| row.get(index).copied().unwrap_or(false);
            let met = match (w, narrow.get(n)) {
                (b'*', None) => at(&below, n),
                (b'*', Some(_)) => at(&below, n) || at(&here, n + 1),
                (_, Some(b'*')) => either && (at(&here, n + 1) || at(&below, n)),
                (_, None) => false,
                (w, Some(b'?')) => (either || *w == b'?') && at(&below, n + 1),
                (w, Some(byte)) => (*w == b'?' || w.eq_ignore_ascii_case(byte)) && at(&below, n + 1),
            };
            if let Some(cell) = here.get_mut(n) {
                *cell = met;
            }
        }
        below = here;
    }
    below.first().copied().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_meet_where_a_name_fits_both() {
        for (one, other, overlap, cover) in [
            ("svc-*", "SVC-build", true, true),
            ("svc-build", "svc-*", true, false),
            ("svc-*", "*-build", true, false),
            ("svc-?", "svc-*", true, false),
            ("svc-*", "svc-?", true, true),
            ("a", "b", false, false),
            ("a*", "b*", false, false),
            ("*", "?", true, true),
            ("??", "?", false, false),
            ("*a", "ba*", true, false),
        ] {
            assert_eq!((overlaps(one, other), covers(one, other)), (overlap, cover), "{one} {other}");
            assert_eq!(overlaps(other, one), overlap, "{other} {one}");
        }
    }

    #[test]
    fn only_a_leading_star_means_no_path() {
        for (pattern, exact) in
            [("svc", true), ("*-svc", true), ("svc-*", false), ("s?c", false), ("?c", false), ("*a*", false)]
        {
            assert_eq!(is_exact_in_arn(pattern), exact, "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn patterns_meet_as_names_do(one in "[ab*?]{1,5}", other in "[ab*?]{1,5}") {
            let names: Vec<String> = (1..=6_u32)
                .flat_map(|length| (0..1_u32 << length).map(move |bits| {
                    (0..length).map(|at| if bits >> at & 1 == 0 { 'a' } else { 'b' }).collect()
                }))
                .collect();
            let fits = |pattern: &str, name: &str| wildcard::matches(pattern.as_bytes(), name.as_bytes());
            let mut both = false;
            for name in &names {
                both |= fits(&one, name) && fits(&other, name);
                if covers(&one, &other) {
                    prop_assert!(!fits(&other, name) || fits(&one, name), "{} {} {}", one, other, name);
                }
            }
            // Names of more than six characters can be the only ones in common.
            prop_assert!(!both || overlaps(&one, &other), "{} {}", one, other);
            if one.len() + other.len() <= 6 && overlaps(&one, &other) {
                prop_assert!(both || (one + &other).bytes().all(|byte| byte == b'*'));
            }
        }
    }
}
