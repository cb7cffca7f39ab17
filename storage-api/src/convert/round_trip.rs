//! What is encoded comes back as it was, costs no more than it was charged with, and nothing that arrives panics.

use bytes::Bytes;
use freshet_storage_contract::{Answer, DeliveryControl, NumberedDelivery, Operation};
use proptest::{collection::vec, prelude::*};
use prost::Message as _;

use super::{arbitrary, deliveries_of};
use crate::{
    WireError,
    batch::Item,
    codec::{Frame, decode_frame},
    proto,
    server::AttachRequest,
};

/// Through bytes, as a peer would get it.
fn through_bytes<F: Frame>(frame: &F) -> F {
    decode_frame(&Bytes::from(frame.encode_to_vec())).expect("what is encoded is understood")
}

fn items<P, C: TryFrom<P, Error = WireError>>(items: Vec<P>) -> Vec<C> {
    items
        .into_iter()
        .map(|i| C::try_from(i).expect("what is encoded is valid"))
        .collect()
}

proptest! {
    #[test]
    fn operations_come_back_as_they_were(operations in vec(arbitrary::operation(), 0..6)) {
        let charged: usize = operations.iter().map(Item::charged_bytes).sum();
        let frame = Operation::frame(operations.clone());
        prop_assert!(frame.encoded_len() <= charged);
        prop_assert_eq!(items::<_, Operation>(through_bytes(&frame).operations), operations);
    }

    #[test]
    fn answers_come_back_as_they_were(answers in vec(arbitrary::answer(), 0..6)) {
        let charged: usize = answers.iter().map(Item::charged_bytes).sum();
        let frame = Answer::frame(answers.clone());
        prop_assert!(frame.encoded_len() <= charged);
        prop_assert_eq!(items::<_, Answer>(through_bytes(&frame).answers), answers);
    }

    #[test]
    fn deliveries_come_back_with_their_numbers(deliveries in arbitrary::deliveries()) {
        let charged: usize = deliveries.iter().map(Item::charged_bytes).sum();
        let frame = NumberedDelivery::frame(deliveries.clone());
        prop_assert!(frame.encoded_len() <= charged);
        prop_assert_eq!(deliveries_of(through_bytes(&frame).runs).unwrap(), deliveries);
    }

    #[test]
    fn controls_come_back_as_they_were(controls in vec(arbitrary::control(), 0..6)) {
        let charged: usize = controls.iter().map(Item::charged_bytes).sum();
        let frame = DeliveryControl::frame(controls.clone());
        prop_assert!(frame.encoded_len() <= charged);
        prop_assert_eq!(items::<_, DeliveryControl>(through_bytes(&frame).controls), controls);
    }

    #[test]
    fn the_beginning_of_a_link_comes_back_as_it_was(
        request in arbitrary::attach(), attached in arbitrary::attached(), refusal in arbitrary::refusal(),
    ) {
        let frame = proto::OperationFrame { attach: Some(request.clone().into()), operations: Vec::new() };
        prop_assert_eq!(AttachRequest::try_from(through_bytes(&frame).attach.unwrap()).unwrap(), request);
        for link in [
            proto::answer_frame::Link::Attached(attached.clone().into()),
            proto::answer_frame::Link::Refused(refusal.clone().into()),
        ] {
            let frame = proto::AnswerFrame { link: Some(link), answers: Vec::new() };
            match through_bytes(&frame).link.unwrap() {
                proto::answer_frame::Link::Attached(a) => prop_assert_eq!(&a.try_into(), &Ok(attached.clone())),
                proto::answer_frame::Link::Refused(r) => prop_assert_eq!(&r.try_into(), &Ok(refusal.clone())),
            }
        }
    }

    #[test]
    fn damaged_frames_are_errors_or_other_frames(
        operations in vec(arbitrary::operation(), 1..4), deliveries in arbitrary::deliveries(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = Operation::frame(operations).encode_to_vec();
        for (at, with) in &damage {
            let at = at.index(bytes.len());
            bytes[at] = *with;
        }
        if let Ok(frame) = decode_frame::<proto::OperationFrame>(&Bytes::from(bytes)) {
            let _: Result<Vec<Operation>, _> = frame.operations.into_iter().map(TryInto::try_into).collect();
        }
        let mut bytes = NumberedDelivery::frame(deliveries).encode_to_vec();
        for (at, with) in damage {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = with;
            }
        }
        if let Ok(frame) = decode_frame::<proto::DeliveryFrame>(&Bytes::from(bytes)) {
            let _ = deliveries_of(frame.runs);
        }
    }

    #[test]
    fn any_bytes_are_an_error_or_a_frame(bytes in vec(any::<u8>(), 0..200)) {
        let bytes = Bytes::from(bytes);
        if let Ok(frame) = decode_frame::<proto::OperationFrame>(&bytes) {
            let _: Result<Vec<Operation>, _> = frame.operations.into_iter().map(TryInto::try_into).collect();
        }
        if let Ok(frame) = decode_frame::<proto::AnswerFrame>(&bytes) {
            let _: Result<Vec<Answer>, _> = frame.answers.into_iter().map(TryInto::try_into).collect();
        }
        let _ = decode_frame::<proto::DeliveryControlFrame>(&bytes);
        let _ = decode_frame::<proto::DeliveryFrame>(&bytes).map(|frame| deliveries_of(frame.runs));
    }
}
