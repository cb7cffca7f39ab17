//! Session present, takeover and wills.

use super::*;

#[test]
fn a_session_is_there_until_its_interval_has_passed() {
    let mut story = Story::default();
    story
        .connect(1, "s", false)
        .hang_up(1)
        .after_s(500)
        .connect(2, "s", true)
        .rest(2)
        .is_right();
    let mut wrong = Story::default();
    wrong
        .connect(1, "s", false)
        .after_s(1)
        .kill()
        .then(1, What::Closed { reason: None })
        .connect(2, "s", false)
        .rest(2);
    wrong.is_wrong(Rule::SessionPresent, &[5, 6]);
}

#[test]
fn a_session_that_had_just_begun_is_there_after_a_kill_if_something_was_in_it() {
    for session_present in [false, true] {
        let mut story = Story::default();
        story.connect(1, "s", false).kill();
        story.then(1, What::Closed { reason: None });
        story.connect(2, "s", session_present).rest(2).is_right();
    }
    let mut wrong = Story::default();
    wrong.connect(1, "s", false).subscribe(1, "t", 1).kill();
    wrong.then(1, What::Closed { reason: None });
    wrong.connect(2, "s", false).rest(2);
    wrong.is_wrong(Rule::SessionPresent, &[7, 8]);
}

#[test]
fn what_a_forgotten_session_was_owed_is_lost() {
    let m = message("p", "t", 1);
    let mut story = Story::default();
    story
        .connect(1, "s", false)
        .subscribe(1, "t", 1)
        .hang_up(1)
        .connect(2, "p", false);
    story
        .send(2, 1, &m, 1)
        .puback(2, 1)
        .rest(2)
        .connect(3, "s", false)
        .rest(3);
    let verdict = story.verdict();
    assert!(
        verdict.breaks(Rule::NoLoss) && verdict.breaks(Rule::SessionPresent),
        "{verdict}"
    );
    assert_eq!(verdict.violations.len(), 2, "{verdict}");
}

#[test]
fn a_session_is_gone_when_its_interval_has_passed() {
    for (present, after_s) in [(false, 608), (true, 603), (false, 603)] {
        let mut story = Story::default();
        story
            .connect(1, "s", false)
            .hang_up(1)
            .after_s(after_s)
            .connect(2, "s", present)
            .rest(2)
            .is_right();
    }
    let mut wrong = Story::default();
    wrong
        .connect(1, "s", false)
        .hang_up(1)
        .after_s(608)
        .connect(2, "s", true)
        .rest(2);
    wrong.is_wrong(Rule::SessionPresent, &[3, 4]);
}

#[test]
fn while_the_broker_is_away_no_interval_surely_passes() {
    let away = |is_back: bool| {
        let mut story = Story::default();
        let part = "broker".to_owned();
        story
            .connect(1, "s", false)
            .after_s(5)
            .then(0, What::Terminated { part });
        if is_back {
            story.then(0, What::Started);
        }
        story.hang_up(1).after_s(608).connect(2, "s", true).rest(2);
        story
    };
    away(false).is_right();
    away(true).is_wrong(Rule::SessionPresent, &[5, 6]);
}

#[test]
fn nobody_has_a_session_who_was_never_there_or_begins_anew() {
    let mut story = Story::default();
    story
        .connect(1, "s", true)
        .rest(1)
        .is_wrong(Rule::SessionPresent, &[0, 1]);
    let mut story = Story::default();
    story.connect(1, "s", false).hang_up(1).connecting(2, "s", 0);
    story.then(2, What::Connected { session_present: true });
    story.is_wrong(Rule::SessionPresent, &[3, 4]);
}

#[test]
fn who_was_not_told_may_have_been_let_in() {
    for session_present in [false, true] {
        let mut story = Story::default();
        story
            .connecting(1, "s", 600)
            .kill()
            .then(1, What::Closed { reason: None });
        story.connect(2, "s", session_present).rest(2).is_right();
    }
}

/// A subscriber that connection 2 takes over from connection 1, and a publisher on connection 3.
fn taken_over() -> Story {
    let mut story = Story::default();
    story
        .connect(1, "s", false)
        .subscribe(1, "#", 1)
        .connect(3, "p", false)
        .connect(2, "s", true);
    story
}

#[test]
fn what_was_on_its_way_to_the_old_connection_may_be_read_there() {
    let m = message("p", "t", 1);
    let mut story = Story::default();
    story
        .connect(1, "s", false)
        .subscribe(1, "#", 1)
        .connect(3, "p", false)
        .send(3, 1, &m, 1)
        .puback(3, 1);
    story
        .connect(2, "s", true)
        .receive(1, 1, &m, 1)
        .then(1, What::Closed { reason: None });
    // It does not count as delivered: the client has gone over.
    let mut lost = Story {
        history: story.history.clone(),
        now_us: story.now_us,
    };
    lost.rest(2).rest(3).is_wrong(Rule::NoLoss, &[3, 6, 7]);
    story.receive(2, 1, &m, 1).rest(2).rest(3).is_right();
}

#[test]
fn nothing_new_is_delivered_on_the_old_connection() {
    let m = message("p", "t", 1);
    let mut story = taken_over();
    story
        .send(3, 1, &m, 1)
        .puback(3, 1)
        .receive(1, 1, &m, 1)
        .receive(2, 1, &m, 1);
    story.rest(2).rest(3).is_wrong(Rule::TakeoverExclusive, &[7, 8, 10]);
}

#[test]
fn nothing_is_answered_on_the_old_connection() {
    let mut story = taken_over();
    story.then(1, What::Pinging).then(1, What::Pinged);
    story.rest(2).rest(3).is_wrong(Rule::TakeoverExclusive, &[7, 8, 9]);
    let mut story = Story::default();
    story
        .connect(1, "s", false)
        .then(1, What::Pinging)
        .connect(2, "s", true)
        .then(1, What::Pinged);
    story.rest(2).is_right();
}

#[test]
fn what_is_published_on_the_old_connection_reaches_nobody() {
    let m = message("s", "t", 1);
    let mut story = taken_over();
    story
        .send(1, 9, &m, 1)
        .then(1, What::Closed { reason: None })
        .receive(2, 1, &m, 1);
    story.rest(2).rest(3).is_wrong(Rule::TakeoverExclusive, &[7, 8, 10]);
}

/// Somebody who waits for wills on connection 1, and a client with one on connection 2: lines 0 to 5.
fn heir() -> Story {
    let mut story = Story::default();
    story.connect(1, "heir", false).subscribe(1, "w", 2).mortal(2, "mortal");
    story
}

#[test]
fn the_will_of_a_client_that_hangs_up_is_published() {
    let will = message("mortal", "w", 2);
    let mut story = heir();
    story
        .hang_up(2)
        .after_s(5)
        .receive_twice_sure(1, 1, &will)
        .rest(1)
        .is_right();
    let mut wrong = heir();
    wrong.hang_up(2).after_s(5).rest(1).is_wrong(Rule::Wills, &[3, 4, 6]);
    // Who was killed meanwhile may publish it or not.
    let mut story = heir();
    story.hang_up(2).kill().after_s(5).rest(1).is_right();
}

#[test]
fn a_client_that_disconnects_has_no_will() {
    let will = message("mortal", "w", 2);
    let mut story = heir();
    story
        .then(2, What::Disconnecting)
        .then(2, What::Closed { reason: None });
    story
        .receive_twice_sure(1, 1, &will)
        .rest(1)
        .is_wrong(Rule::Wills, &[6, 8]);
}

#[test]
fn a_disconnect_that_nobody_may_have_read_says_nothing() {
    let will = message("mortal", "w", 2);
    let mut story = heir();
    story
        .then(2, What::Disconnecting)
        .kill()
        .then(2, What::Closed { reason: None });
    story.receive_twice_sure(1, 1, &will).rest(1).is_right();
}
