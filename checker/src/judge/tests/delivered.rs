//! What is delivered, how often, in which order, and what is retained.

use super::*;

/// A subscriber on connection 1 and a publisher on connection 2: lines 0 to 5.
fn pair(filter: &str, qos: u8) -> Story {
    let mut story = Story::default();
    story
        .connect(1, "s", false)
        .subscribe(1, filter, qos)
        .connect(2, "p", false);
    story
}

#[test]
fn an_acknowledged_message_has_to_arrive() {
    let m = message("p", "t/1", 1);
    let mut story = pair("t/+", 1);
    story.send(2, 1, &m, 1).puback(2, 1);
    let mut right = Story {
        history: story.history.clone(),
        now_us: story.now_us,
    };
    right.receive(1, 1, &m, 1).rest(1).rest(2).is_right();
    story.rest(1).rest(2).is_wrong(Rule::NoLoss, &[3, 6, 7]);
}

#[test]
fn a_message_that_was_not_acknowledged_may_be_gone() {
    let m = message("p", "t", 1);
    let mut story = pair("t", 1);
    story
        .send(2, 1, &m, 1)
        .hang_up(2)
        .connect(3, "p", true)
        .rest(1)
        .rest(3)
        .is_right();
}

#[test]
fn pubrec_acknowledges_and_an_error_does_not() {
    let (taken, refused) = (message("p", "t", 1), message("p", "t", 2));
    let mut story = pair("t", 2);
    story.send(2, 1, &taken, 2).then(
        2,
        What::PubRec {
            packet_id: 1,
            reason: 0,
        },
    );
    story.then(2, What::Releasing { packet_id: 1 }).then(
        2,
        What::PubComp {
            packet_id: 1,
            reason: 0,
        },
    );
    story.send(2, 2, &refused, 2).then(
        2,
        What::PubRec {
            packet_id: 2,
            reason: 0x97,
        },
    );
    story.rest(1).rest(2).is_wrong(Rule::NoLoss, &[3, 6, 7]);
}

#[test]
fn a_subscription_that_was_not_confirmed_yet_asks_for_nothing() {
    let m = message("p", "t", 1);
    let mut story = Story::default();
    let filter = "t".to_owned();
    story.connect(1, "s", false).connect(2, "p", false);
    story.then(
        1,
        What::Subscribing {
            packet_id: 1,
            filter,
            qos: 1,
        },
    );
    story.send(2, 1, &m, 1).puback(2, 1).then(
        1,
        What::SubAck {
            packet_id: 1,
            granted: 1,
        },
    );
    story.rest(1).rest(2).is_right();
}

#[test]
fn nothing_is_owed_to_a_filter_that_was_given_up() {
    let m = message("p", "t", 1);
    let mut story = pair("t", 1);
    story
        .send(2, 1, &m, 1)
        .puback(2, 1)
        .unsubscribe(1, "t")
        .rest(1)
        .rest(2)
        .is_right();
}

#[test]
fn a_request_on_a_connection_at_rest_has_its_answer() {
    let m = message("p", "t", 1);
    let mut story = Story::default();
    story
        .connect(2, "p", false)
        .send(2, 1, &m, 1)
        .rest(2)
        .is_wrong(Rule::Answered, &[2, 3]);
}

#[test]
fn a_message_at_qos_2_comes_once() {
    let m = message("p", "t", 1);
    let mut story = pair("t", 2);
    story
        .send(2, 1, &m, 2)
        .receive_twice_sure(1, 7, &m)
        .receive_twice_sure(1, 8, &m);
    story
        .hang_up(2)
        .connect(3, "p", true)
        .rest(1)
        .rest(3)
        .is_wrong(Rule::ExactlyOnce, &[7, 11]);
}

#[test]
fn what_comes_again_under_its_packet_id_is_no_second_message() {
    let m = message("p", "t", 1);
    let mut story = pair("t", 2);
    story
        .send(2, 1, &m, 2)
        .hang_up(2)
        .connect(3, "p", true)
        .receive(1, 7, &m, 2)
        .kill();
    story
        .then(1, What::Closed { reason: None })
        .connect(4, "s", true)
        .receive_twice_sure(4, 7, &m);
    story.rest(3).rest(4).is_right();
}

#[test]
fn a_packet_id_stands_for_one_message_until_it_is_released() {
    let (first, second) = (message("p", "t", 1), message("p", "t", 2));
    let mut story = pair("t", 2);
    story
        .send(2, 1, &first, 2)
        .send(2, 2, &second, 2)
        .hang_up(2)
        .connect(3, "p", true);
    story.receive(1, 7, &first, 2).receive(1, 7, &second, 2);
    story.rest(1).rest(3).is_wrong(Rule::ExactlyOnce, &[12]);
}

#[test]
fn qos_1_may_come_again_and_only_first_deliveries_are_in_order() {
    let (first, second) = (message("p", "t", 1), message("p", "t", 2));
    let mut story = pair("t", 1);
    story
        .send(2, 1, &first, 1)
        .send(2, 2, &second, 1)
        .puback(2, 1)
        .puback(2, 2);
    let mut wrong = Story {
        history: story.history.clone(),
        now_us: story.now_us,
    };
    story
        .receive(1, 1, &first, 1)
        .receive(1, 2, &second, 1)
        .receive(1, 3, &first, 1);
    story.rest(1).rest(2).is_right();
    wrong.receive(1, 1, &second, 1).receive(1, 2, &first, 1);
    wrong.rest(1).rest(2).is_wrong(Rule::Order, &[10, 11]);
}

#[test]
fn a_repetition_may_be_the_first_that_a_new_subscriber_sees() {
    let (first, second) = (message("p", "t", 1), message("p", "t", 2));
    let mut story = Story::default();
    story.connect(2, "p", false).send(2, 1, &first, 1);
    story.connect(1, "s", false).subscribe(1, "t", 1).send(2, 2, &second, 1);
    story.receive(1, 1, &second, 1).hang_up(2).connect(3, "p", true);
    story
        .send(3, 1, &first, 1)
        .send(3, 2, &second, 1)
        .puback(3, 1)
        .puback(3, 2);
    story
        .receive(1, 2, &first, 1)
        .receive(1, 3, &second, 1)
        .rest(1)
        .rest(3)
        .is_right();
}

#[test]
fn what_is_repeated_is_retained_again() {
    let (first, second) = (message("p", "r", 1), message("p", "r", 2));
    let mut story = Story::default();
    story
        .connect(2, "p", false)
        .retain(2, 1, "r", Some(&first))
        .retain(2, 2, "r", Some(&second))
        .puback(2, 2);
    story
        .hang_up(2)
        .connect(3, "p", true)
        .retain(3, 1, "r", Some(&first))
        .puback(3, 1);
    story
        .connect(1, "s", false)
        .subscribe(1, "r", 1)
        .receive_with(1, 1, &first, (1, true));
    story.rest(1).rest(3).is_right();
}

#[test]
fn a_repeated_clearing_is_the_one_that_was_sent_first() {
    let m = message("p", "r", 1);
    let mut story = Story::default();
    story
        .connect(2, "p", false)
        .retain(2, 1, "r", Some(&m))
        .retain(2, 2, "r", None);
    story
        .hang_up(2)
        .connect(3, "p", true)
        .retain(3, 1, "r", Some(&m))
        .retain(3, 2, "r", None);
    story
        .puback(3, 1)
        .puback(3, 2)
        .connect(1, "s", false)
        .subscribe(1, "r", 1);
    story.receive_with(1, 1, &m, (1, true)).rest(1).rest(3).is_right();
}

#[test]
fn two_publishers_and_two_topics_have_no_order_between_them() {
    let (a, b, c) = (message("p", "t", 2), message("q", "t", 1), message("p", "u", 1));
    let mut story = pair("#", 1);
    story
        .connect(3, "q", false)
        .send(2, 1, &a, 1)
        .send(3, 1, &b, 1)
        .send(2, 2, &c, 1);
    story.puback(2, 1).puback(3, 1).puback(2, 2);
    story.receive(1, 1, &c, 1).receive(1, 2, &a, 1).receive(1, 3, &b, 1);
    story.rest(1).rest(2).rest(3).is_right();
}

#[test]
fn only_what_was_published_is_delivered() {
    let m = message("p", "t", 1);
    let mut story = pair("t", 1);
    story.receive(1, 1, &m, 1).rest(1).rest(2).is_wrong(Rule::Origin, &[6]);
}

#[test]
fn only_what_was_subscribed_to_is_delivered() {
    let m = message("p", "u", 1);
    let mut story = pair("t", 1);
    story.send(2, 1, &m, 1).puback(2, 1).receive(1, 1, &m, 1);
    story.rest(1).rest(2).is_wrong(Rule::Origin, &[6, 8]);
}

#[test]
fn nothing_published_behind_unsuback_is_delivered() {
    let m = message("p", "t", 1);
    let mut story = pair("t", 1);
    story
        .unsubscribe(1, "t")
        .send(2, 1, &m, 1)
        .puback(2, 1)
        .receive(1, 1, &m, 1);
    story.rest(1).rest(2).is_wrong(Rule::Origin, &[8, 10]);
}

#[test]
fn a_subscriber_gets_the_last_retained_message() {
    let (old, new) = (message("p", "r", 1), message("p", "r", 2));
    let mut story = Story::default();
    story.connect(2, "p", false).retain(2, 1, "r", Some(&old)).puback(2, 1);
    story
        .retain(2, 2, "r", Some(&new))
        .puback(2, 2)
        .connect(1, "s", false)
        .subscribe(1, "r", 1);
    let told = Story {
        history: story.history.clone(),
        now_us: story.now_us,
    };
    let again = || Story {
        history: told.history.clone(),
        now_us: told.now_us,
    };
    again().receive_with(1, 1, &new, (1, true)).rest(1).rest(2).is_right();
    again().rest(1).rest(2).is_wrong(Rule::Retained, &[8, 9, 10]);
    let mut wrong = again();
    wrong.receive_with(1, 1, &old, (1, true)).rest(1).rest(2);
    wrong.is_wrong(Rule::Retained, &[2, 5, 10]);
}

#[test]
fn among_concurrent_writers_any_may_be_the_last() {
    let (mine, yours) = (message("p", "r", 1), message("q", "r", 1));
    for last in [&mine, &yours] {
        let mut story = Story::default();
        story.connect(2, "p", false).connect(3, "q", false);
        story
            .retain(2, 1, "r", Some(&mine))
            .retain(3, 1, "r", Some(&yours))
            .puback(2, 1)
            .puback(3, 1);
        story
            .connect(1, "s", false)
            .subscribe(1, "r", 1)
            .receive_with(1, 1, last, (1, true));
        story.rest(1).rest(2).rest(3).is_right();
    }
}

#[test]
fn what_was_cleared_is_retained_no_more() {
    let m = message("p", "r", 1);
    let mut story = Story::default();
    story.connect(2, "p", false).retain(2, 1, "r", Some(&m)).puback(2, 1);
    story
        .retain(2, 2, "r", None)
        .puback(2, 2)
        .connect(1, "s", false)
        .subscribe(1, "r", 1);
    story.rest(1).rest(2).is_right();
    let mut wrong = Story {
        now_us: story.now_us,
        history: History {
            events: story.history.events[..10].to_vec(),
        },
    };
    wrong.receive_with(1, 1, &m, (1, true)).rest(1).rest(2);
    wrong.is_wrong(Rule::Retained, &[2, 5, 10]);
}

#[test]
fn a_broker_that_cannot_be_read_is_refuted() {
    let mut story = Story::default();
    let error = "no packet".to_owned();
    story
        .connect(1, "s", false)
        .then(1, What::Malformed { error })
        .hang_up(1)
        .connect(2, "s", true)
        .rest(2);
    story.is_wrong(Rule::Protocol, &[2]);
}
