//! When entries of a schedule begin and end, also where clocks change.

use proptest::prelude::*;

use super::*;

fn entry(cron: &str, zone: &str, lasts_min: u64, min: u32) -> Scheduled {
    Scheduled::read("night", cron, zone, Duration::from_secs(lasts_min * 60), min).expect("an entry")
}

/// Seconds since 1970 of a time such as `2026-03-28T20:00:00Z`.
fn at(time: &str) -> Duration {
    let timestamp: Timestamp = time.parse().expect("a time");
    Duration::from_secs(timestamp.as_second().try_into().expect("after 1970"))
}

/// The next times after `start`, in UTC.
fn begins(entry: &Scheduled, start: &str, count: usize) -> Vec<String> {
    let mut now = at(start);
    let mut times = Vec::new();
    for _ in 0..count {
        now = entry.next_after(now).expect("a next time").from;
        let timestamp = Timestamp::from_second(now.as_secs().try_into().expect("seconds")).expect("a time");
        times.push(timestamp.to_string());
    }
    times
}

fn schedule(scheduled: Vec<Scheduled>, capacity_delay_s: u64) -> Settings {
    Settings {
        scheduled,
        capacity_delay: Duration::from_secs(capacity_delay_s),
        ..Settings::default()
    }
}

#[test]
fn times_are_those_of_the_zone() {
    let entry = entry("30 22 * * MON-FRI", "America/New_York", 60, 4);
    assert_eq!(
        begins(&entry, "2026-07-03T12:00:00Z", 2),
        ["2026-07-04T02:30:00Z", "2026-07-07T02:30:00Z"]
    );
    assert_eq!(begins(&entry, "2026-01-05T12:00:00Z", 1), ["2026-01-06T03:30:00Z"]);
}

#[test]
fn a_time_of_day_that_is_skipped_begins_when_the_clock_has_moved_on() {
    // In Berlin 02:00 to 03:00 does not exist on 29 March 2026.
    let entry = entry("30 2 * * *", "Europe/Berlin", 60, 4);
    assert_eq!(
        begins(&entry, "2026-03-28T12:00:00Z", 2),
        ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
    );
}

#[test]
fn a_time_of_day_that_comes_twice_begins_once() {
    // In Berlin 02:00 to 03:00 comes twice on 25 October 2026.
    let entry = entry("30 2 * * *", "Europe/Berlin", 60, 4);
    assert_eq!(
        begins(&entry, "2026-10-24T12:00:00Z", 2),
        ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
    );
}

#[test]
fn steps_go_by_the_clock_in_an_hour_that_comes_twice() {
    let entry = entry("*/30 2 * * *", "Europe/Berlin", 1, 4);
    assert_eq!(
        begins(&entry, "2026-10-24T12:00:00Z", 5),
        [
            "2026-10-25T00:00:00Z",
            "2026-10-25T00:30:00Z",
            "2026-10-25T01:00:00Z",
            "2026-10-25T01:30:00Z",
            "2026-10-26T01:00:00Z"
        ]
    );
}

#[test]
fn a_time_lasts_as_long_as_it_says_also_where_the_clock_changes() {
    let entry = entry("0 0 29 3 *", "Europe/Berlin", 24 * 60, 4);
    let occurrence = entry.next_after(at("2026-03-01T00:00:00Z")).expect("a time");
    assert_eq!(occurrence.from, at("2026-03-28T23:00:00Z"));
    assert_eq!(occurrence.until, at("2026-03-29T23:00:00Z"));
}

#[test]
fn it_is_in_force_from_a_capacity_delay_before_until_its_end() {
    let settings = schedule(vec![entry("0 8 * * *", "UTC", 30, 4)], 180);
    for (time, expected) in [
        ("2026-06-01T07:56:59Z", None),
        ("2026-06-01T07:57:00Z", Some(0)),
        ("2026-06-01T08:29:59Z", Some(0)),
        ("2026-06-01T08:30:00Z", None),
    ] {
        assert_eq!(Calendar::default().in_force(&settings, at(time)), expected, "{time}");
    }
}

#[test]
fn of_entries_that_overlap_the_one_with_the_most_proxies_counts() {
    let settings = schedule(
        vec![entry("0 8 * * *", "UTC", 120, 4), entry("0 9 * * *", "UTC", 30, 9)],
        0,
    );
    let mut calendar = Calendar::default();
    let mut in_force = |time| calendar.in_force(&settings, at(time));
    assert_eq!(in_force("2026-06-01T08:59:59Z"), Some(0));
    assert_eq!(in_force("2026-06-01T09:10:00Z"), Some(1));
    assert_eq!(in_force("2026-06-01T09:30:00Z"), Some(0));
    assert_eq!(in_force("2026-06-01T10:00:00Z"), None);
}

#[test]
fn times_of_an_entry_that_overlap_have_no_gap_between_them() {
    let settings = schedule(vec![entry("*/10 8 * * *", "UTC", 25, 4)], 0);
    let mut calendar = Calendar::default();
    let begin = at("2026-06-01T08:00:00Z");
    // The last one begins at 08:50.
    for second in 0..75 * 60 {
        let now = begin + Duration::from_secs(second);
        assert_eq!(calendar.in_force(&settings, now), Some(0), "{second} s");
    }
    assert_eq!(calendar.in_force(&settings, begin + Duration::from_secs(75 * 60)), None);
}

#[test]
fn what_is_remembered_answers_as_a_fresh_search_whatever_the_clock_does() {
    let settings = schedule(
        vec![
            entry("*/20 * * * *", "Europe/Berlin", 7, 3),
            entry("5 1-3 * * *", "Europe/Berlin", 50, 5),
        ],
        45,
    );
    let mut calendar = Calendar::default();
    let mut now = at("2026-10-24T20:00:00Z");
    let mut in_force = 0;
    for step in 0_u64..2_000 {
        // On by up to four minutes, and now and then back by as much as an hour.
        now = if step % 97 == 96 {
            now - Duration::from_secs(step * 37 % 3_600)
        } else {
            now + Duration::from_secs(step * 7_919 % 240)
        };
        let found = calendar.in_force(&settings, now);
        assert_eq!(found, Calendar::default().in_force(&settings, now), "step {step}");
        in_force += usize::from(found.is_some());
    }
    assert!((100..1_900).contains(&in_force), "in force {in_force} times");
}

#[test]
fn the_next_of_all_entries_is_named() {
    let mut settings = schedule(
        vec![entry("0 8 * * *", "UTC", 30, 4), entry("0 1 * * *", "UTC", 30, 8)],
        0,
    );
    settings.scheduled[1].name = "early".to_owned();
    let (next, occurrence) = settings
        .next_scheduled(at("2026-06-01T08:10:00Z"))
        .expect("something next");
    assert_eq!(
        (next.name.as_str(), occurrence.from),
        ("early", at("2026-06-02T01:00:00Z"))
    );
}

#[test]
fn what_has_no_meaning_is_refused() {
    let refused = |cron: &str, zone: &str| {
        Scheduled::read("night", cron, zone, Duration::from_secs(60), 1).expect_err("no entry")
    };
    for cron in [
        "",
        "* * * *",
        "0 0 0 * * *",
        "61 * * * *",
        "0 2-1 * * *",
        "é * * * *",
        "@reboot",
    ] {
        let error = refused(cron, "UTC");
        assert!(matches!(error, ScheduleError::Cron { .. }), "{cron}: {error}");
    }
    assert_eq!(
        refused("0 0 * * *", "Mars/Olympus"),
        ScheduleError::TimeZone("Mars/Olympus".into())
    );
    assert_eq!(refused("0 0 * * *", ""), ScheduleError::TimeZone(String::new()));
    assert_eq!(refused("0 0 31 2 *", "UTC"), ScheduleError::Never("0 0 31 2 *".into()));
    assert!(Scheduled::read("leap", "0 0 29 2 *", "UTC", Duration::from_secs(60), 1).is_ok());
}

#[test]
fn times_beyond_the_calendar_have_no_next() {
    let entry = entry("0 0 * * *", "UTC", 60, 1);
    for now in [Duration::MAX, Duration::from_secs(400_000_000_000)] {
        assert_eq!(entry.next_after(now), None);
        assert_eq!(entry.present_or_next(now), None);
    }
    assert!(entry.present_or_next(Duration::ZERO).is_some());
}

/// A field of an expression, or something that looks like one.
const FIELD: &str =
    "[*?]|[0-9]{1,2}|[0-9]{1,2}[-,/#][0-9]{1,3}|[*]/[0-9]{1,2}|L|[0-9]{1,2}[LW]|MON|JAN|[0-9*/,#LWA-Za-z?@éß-]{1,6}";

proptest! {
    #[test]
    fn whatever_is_written_is_read_or_refused_and_the_next_time_lies_ahead(
        fields in prop::collection::vec(FIELD, 0..8),
        zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "nowhere"]),
        now_s in 0_u64..8_000_000_000,
    ) {
        let lasts = Duration::from_secs(3600);
        if let Ok(entry) = Scheduled::read("any", &fields.join(" "), zone, lasts, 1) {
            let now = Duration::from_secs(now_s);
            let next = entry.next_after(now).expect("it comes again");
            prop_assert!(next.from > now && next.until == next.from + lasts);
            let present = entry.present_or_next(now).expect("it comes again");
            prop_assert!(present.until > now && present.from <= next.from);
        }
    }
}
