//! The device layer on the emulated card: two streams, and graphs. What a test wants of the card it does in a process of
//! its own, the ignored test beside it.
#![cfg(target_os = "linux")]

use genesis_kernels::cuda::CudaCard;
use genesis_kernels::{Context, Hardware, elementwise};
use genesis_tensor::{DType, Tensor};
use genesis_tests::card::child_on_card;
use std::sync::Arc;

const LENGTH: usize = 600;

fn open() -> (Arc<CudaCard>, Context) {
    let card = CudaCard::open(0).unwrap();
    assert!(card.found().is_emulated(), "these tests plant faults, which no real card should meet");
    let context = Hardware { card: Some(card.clone()), ..Hardware::cpu() }.context(1);
    (card, context)
}

fn full(value: f32) -> Tensor {
    Tensor::full([LENGTH], value).unwrap()
}

fn is(tensor: &Tensor, value: f32) -> bool {
    tensor.to_host().unwrap().as_slice().iter().all(|&v| v == value)
}

/// The outcome of a child, and what the emulator reported.
fn outcome(test: &str, variables: &[(&str, &str)]) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report");
    let mut variables = variables.to_vec();
    variables.push(("PTX_EMULATOR_REPORT", report.to_str().unwrap()));
    let output = child_on_card(test, &variables);
    let [out, err] =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let outcome = match output.status.success() && out.contains("1 passed") {
        true => "right".into(),
        false => format!("{out}{err}"),
    };
    (outcome, std::fs::read_to_string(report).unwrap_or_default())
}

/// With lag, work is done as late as the rules allow. Every wait between the two streams, and of the host for a staging
/// buffer, is needed: without any one of them the result is wrong.
#[test]
fn what_is_sent_ahead_arrives_and_overwrites_nothing() {
    let child = "child_sends_ahead";
    assert_eq!(outcome(child, &[]).0, "right");
    assert_eq!(outcome(child, &[("PTX_EMULATOR_LAG", "1")]).0, "right");
    let mut needed = 0;
    loop {
        let number = (needed + 1).to_string();
        let variables = [("PTX_EMULATOR_LAG", "1"), ("PTX_EMULATOR_SKIP_WAIT", number.as_str())];
        let (found, report) = outcome(child, &variables);
        if !report.contains("left out") {
            assert_eq!(found, "right");
            break;
        }
        assert!(found.contains("wrong"), "without wait {number}: {found}");
        needed += 1;
    }
    assert!(needed >= 4, "{needed} waits");
}

#[test]
#[ignore = "run by what_is_sent_ahead_arrives_and_overwrites_nothing"]
fn child_sends_ahead() {
    let (card, cx) = open();
    // A block whose reader is queued, and free.
    let mut sum = card.place(&full(0.0)).unwrap();
    let old = card.place(&full(3.0)).unwrap();
    elementwise::add(&cx, &mut sum, &old).unwrap();
    let address = old.address();
    drop(old);
    // More than there are staging buffers, so that the host waits for the first copies before anything was computed.
    let sent: Vec<Tensor> = [1.0, 10.0, 20.0, 30.0, 40.0].map(full).into();
    let upload = card.send(&sent).unwrap();
    drop(sent);
    let arrived = upload.arrive().unwrap();
    assert_eq!(arrived[0].address(), address, "the free block was not used again");
    for tensor in &arrived {
        elementwise::add(&cx, &mut sum, tensor).unwrap();
    }
    assert!(is(&sum, 3.0 + 101.0), "wrong sum");
    // One that never arrives gives its block back, and must not write there any more.
    let upload = card.send(&[full(9.0)]).unwrap();
    drop(upload);
    let mut next = card.unspecified([LENGTH], DType::F32).unwrap();
    elementwise::fill(&cx, &mut next, 0..LENGTH, 7.0).unwrap();
    assert!(is(&next, 7.0), "wrong before the copies are over");
    let others: Vec<Tensor> = [1.0, 2.0, 3.0, 4.0].map(full).into();
    let others = card.send(&others).unwrap().arrive().unwrap();
    assert!(is(&next, 7.0), "wrong block of an upload that never arrived");
    assert!(others.iter().zip([1.0, 2.0, 3.0, 4.0]).all(|(tensor, value)| is(tensor, value)), "wrong batch");
}
