//! The device layer on the emulated card: two streams, and graphs. What a test wants of the card it does in a process of
//! its own, the ignored test beside it.
// Faults are planted, which no real card should meet.
#![cfg(all(target_os = "linux", not(feature = "gpu-tests")))]

use genesis_kernels::cuda::CudaCard;
use genesis_kernels::op::Operation;
use genesis_kernels::ops::loss::Loss;
use genesis_kernels::ops::optimizer::Schedule;
use genesis_kernels::{Context, Error, Hardware, elementwise};
use genesis_model::{Initialiser, Levels, Network, Statistics, UNet3d, UNetConfig};
use genesis_tensor::{DType, Tensor};
use genesis_tests::card::child_on_card;
use genesis_train::Precision;
use genesis_train::training::{Batch, OptimizerConfig, StepSettings, Trainer, Updater};
use std::sync::Arc;

const LENGTH: usize = 600;

fn open() -> (Arc<CudaCard>, Context) {
    let card = CudaCard::open(0).unwrap();
    assert!(card.found().is_emulated());
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
        // The emulator itself notices a kernel that reads what has not arrived.
        let noticed = found.contains("wrong") || found.contains("nobody has written");
        assert!(noticed, "without wait {number}: {found}");
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

/// Bytes of a card for [`child_records`]: little enough that the memory of a graph has to be given up.
const SMALL_CARD: &str = "4194304";

#[test]
fn a_graph_keeps_its_memory_and_gives_it_up_where_there_is_no_other() {
    for lag in ["0", "1"] {
        let variables = [("PTX_EMULATOR_LAG", lag), ("PTX_EMULATOR_MEMORY", SMALL_CARD)];
        let (found, report) = outcome("child_records", &variables);
        assert_eq!(found, "right");
        assert_eq!(report.matches("graph of").count(), 4, "{report}");
    }
}

/// (x + bf16(x)) + x, through blocks that come and go, and what an operation wants to look at: labels.
fn work(card: &Arc<CudaCard>, cx: &Context, x: &Tensor, labels: &Tensor) -> genesis_kernels::Result<Tensor> {
    let narrow = elementwise::cast(cx, x, DType::Bf16)?;
    let mut sum = elementwise::cast(cx, &narrow, DType::F32)?;
    drop(narrow);
    elementwise::add(cx, &mut sum, x)?;
    let mut out = card.copy_of(&sum)?;
    drop(sum);
    elementwise::add(cx, &mut out, x)?;
    Loss::CrossEntropy.forward(cx, &[&x.reshape([LENGTH / 3, 3])?, labels])?;
    Ok(out)
}

#[test]
#[ignore = "run by a_graph_keeps_its_memory_and_gives_it_up_where_there_is_no_other"]
fn child_records() {
    let (card, cx) = open();
    let labels = |value: f32| card.place(&Tensor::full([LENGTH / 3], value).unwrap()).unwrap();
    let (x, wanted) = (card.place(&full(1.1)).unwrap(), labels(2.0));
    // Warm: kernels are loaded, the pool has the memory.
    let plain = work(&card, &cx, &x, &wanted).unwrap().to_host().unwrap();
    let held = card.memory();
    let (graph, out) = card.record(|| work(&card, &cx, &x, &wanted)).unwrap();
    assert_eq!(card.memory().held, held.held, "a graph of what ran before takes no more memory");
    assert!(graph.kernels() > 4);
    // Whatever is in use between launches is nothing of the graph's.
    let others = |value: f32| -> Vec<Tensor> {
        let mut others: Vec<Tensor> =
            (0..8).map(|_| card.unspecified([LENGTH], DType::F32).unwrap()).collect();
        for other in &mut others {
            elementwise::fill(&cx, other, 0..LENGTH, value).unwrap();
        }
        others
    };
    let before = others(99.0);
    assert!(graph.launch().unwrap());
    graph.check().unwrap();
    assert_eq!(out.to_host().unwrap().as_slice(), plain.as_slice());
    let between = others(77.0);
    assert_eq!(out.to_host().unwrap().as_slice(), plain.as_slice(), "a result was overwritten");
    // Another input, in the same place.
    card.renew(&x, &card.place(&full(2.3)).unwrap()).unwrap();
    assert!(graph.launch().unwrap());
    let again = work(&card, &cx, &x, &wanted).unwrap().to_host().unwrap();
    assert_eq!(out.to_host().unwrap().as_slice(), again.as_slice());
    assert_ne!(again.as_slice(), plain.as_slice());
    assert!(before.iter().all(|other| is(other, 99.0)) && between.iter().all(|other| is(other, 77.0)));
    // A label that is no class.
    card.renew(&wanted, &labels(3.0)).unwrap();
    assert!(graph.launch().unwrap());
    assert!(graph.check().unwrap_err().to_string().contains("200 values are labels that are no class"));
    card.renew(&wanted, &labels(0.0)).unwrap();
    assert!(graph.launch().unwrap());
    graph.check().unwrap();

    // What cannot be recorded is an error, and leaves everything as it was.
    let memory = card.memory();
    let download = card.record(|| Ok::<_, Error>(work(&card, &cx, &x, &wanted)?.to_host()?));
    assert!(download.err().unwrap().to_string().contains("a download while a graph is recorded"));
    let upload = card.record(|| card.place(&full(1.0)));
    assert!(upload.err().unwrap().to_string().contains("an upload while a graph is recorded"));
    let nested = card.record(|| card.record(|| Ok::<_, Error>(())));
    assert!(nested.err().unwrap().to_string().contains("recording a graph while a graph is recorded"));
    assert!(card.record(|| card.synchronize()).is_err());
    assert_eq!((card.memory().live, card.memory().held), (memory.live, memory.held));
    assert_eq!(work(&card, &cx, &x, &wanted).unwrap().to_host().unwrap().as_slice(), again.as_slice());

    // Another thread's work is not recorded.
    let (second, thread) = card
        .record(|| {
            let (begins, begun) = std::sync::mpsc::channel();
            let card = card.clone();
            let mut other = card.unspecified([LENGTH], DType::F32)?;
            let thread = std::thread::spawn(move || {
                let cx = Hardware { card: Some(card), ..Hardware::cpu() }.context(1);
                begins.send(()).unwrap();
                elementwise::fill(&cx, &mut other, 0..LENGTH, 5.0).unwrap();
                other
            });
            begun.recv().unwrap();
            Ok::<_, Error>(thread)
        })
        .unwrap();
    assert_eq!(second.kernels(), 0, "another thread's kernel was recorded");
    assert!(is(&thread.join().unwrap(), 5.0));

    // More memory than the card has beside the graph's: it is given up, and the graph says so.
    drop((before, between, second));
    let mut all = Vec::new();
    let error = loop {
        match card.unspecified([1 << 14], DType::F32) {
            Ok(tensor) => all.push(tensor),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("65536 bytes of memory"), "{error}");
    assert!(!graph.launch().unwrap());
}

/// What a run of [`child_trains`] tells: losses, counts and a sum of bits.
fn training(variables: &[(&str, &str)]) -> Vec<String> {
    let mut all = vec![("PTX_EMULATOR_CHECKS", "none")];
    all.extend(variables);
    let output = child_on_card("child_trains", &all);
    let [out, err] =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert!(output.status.success(), "{out}{err}");
    // The first line shares its own with the name of the test.
    out.lines().filter_map(|line| line.split_once("told: ")).map(|(_, told)| told.to_string()).collect()
}

#[test]
fn steps_by_a_graph_have_the_bits_of_plain_ones() {
    let (plain, graph) = std::thread::scope(|scope| {
        let plain = scope.spawn(|| training(&[("GENESIS_CUDA_GRAPHS", "0")]));
        // As late as the rules allow.
        let graph = training(&[("PTX_EMULATOR_LAG", "1")]);
        (plain.join().unwrap(), graph)
    });
    assert!(plain.len() > 10, "{plain:?}");
    let (counts, steps) = plain.split_last().unwrap();
    assert_eq!(counts, "GraphCounts { recorded: 0, launched: 0, plain: 13 }");
    assert_eq!(graph[..steps.len()], *steps);
    assert_eq!(graph[steps.len()], "GraphCounts { recorded: 2, launched: 9, plain: 4 }");
}

/// A batch of smooth cubes and what they are to become; `odd` is the value of one voxel.
fn batch(step: u64, samples: usize, odd: f32) -> Batch {
    let shape = [samples, 8, 8, 8, 1];
    let cubes = |phase: f32| {
        let values: Vec<f32> =
            (0..samples * 512).map(|v| 0.5 + 0.4 * (0.37 * v as f32 + phase).sin()).collect();
        Tensor::from_slice(shape, &values).unwrap()
    };
    let (mut input, target) = (cubes(step as f32), cubes(0.3 * step as f32));
    input.as_mut_slice().unwrap()[17] = odd;
    Batch { step, input, target, mask: None, identity: (0.0, 1.0) }
}

fn bits(tensor: &Tensor) -> u64 {
    let host = tensor.to_host().unwrap();
    host.as_slice().iter().fold(0u64, |sum, v| sum.rotate_left(5) ^ u64::from(v.to_bits()))
}

#[test]
#[ignore = "run by steps_by_a_graph_have_the_bits_of_plain_ones"]
fn child_trains() {
    let (card, cx) = open();
    let mut network = UNet3d::new(UNetConfig { width: 2, ..UNetConfig::default() }).unwrap();
    network.initialise(Initialiser::Pytorch, 3).unwrap();
    let optimizer = OptimizerConfig {
        name: "adam".into(),
        learning_rate: 0.01,
        momentum: 0.0,
        weight_decay: 0.0,
        nesterov: false,
        clip_norm: 0.05,
    };
    let schedule = Schedule::Cosine { length: 20, floor: 0.0 };
    let updater = Updater::new(network.parameters(), &optimizer, schedule).unwrap();
    let settings = StepSettings { precision: Precision::F32, recompute: 1, checkpoint_levels: Levels::NONE };
    let mut trainer = Trainer::with(cx, network, updater, &settings).unwrap();
    let step = |trainer: &mut Trainer, number: u64, samples: usize, odd: f32| {
        let mut sent = batch(number, samples, odd);
        let upload = card.send(&[sent.input.clone(), sent.target.clone()]).unwrap();
        let arrived = upload.arrive().unwrap();
        (sent.input, sent.target) = (arrived[0].clone(), arrived[1].clone());
        let outcome = match trainer.train(sent) {
            Ok(report) => format!("{:08x} {}", report.loss.to_bits(), report.learning_rate),
            Err(error) => {
                trainer.updater.skip();
                error.to_string()
            }
        };
        let state = trainer.network.state(Statistics::Running).unwrap();
        let counter = state.get("down_tr64.ops.0.bn1.num_batches_tracked").unwrap().to_i64();
        println!(
            "told: {number}: {outcome}, {:x} {:x} {counter:?}",
            bits(trainer.network.parameters().flat()),
            bits(trainer.network.running().values())
        );
    };
    // Two plain ones, of which the first places everything; two by a graph; one of another shape.
    for (number, samples) in [(1, 2), (2, 2), (3, 2), (4, 2), (5, 3), (6, 2)] {
        step(&mut trainer, number, samples, 0.5);
    }
    // A loss that is no number comes to nothing.
    step(&mut trainer, 7, 2, f32::NAN);
    // A validation that moves the statistics, whose results stay while the next step runs.
    let restored = trainer.restore(batch(0, 2, 0.1).input, Statistics::BatchAndUpdate).unwrap();
    let kept = trainer.network.running();
    let before = bits(kept.values());
    step(&mut trainer, 8, 2, 0.5);
    step(&mut trainer, 9, 2, 0.5);
    assert_eq!(bits(kept.values()), before, "statistics that somebody keeps were overwritten");
    println!("told: validation {:x} {before:x}", bits(&restored));
    // Parameters elsewhere: recorded anew after a plain step.
    let old = trainer.network.parameters().flat().address();
    let _kept = trainer.network.parameters().clone();
    trainer.network.parameters_mut().flat_mut().address_mut().unwrap();
    assert_ne!(trainer.network.parameters().flat().address(), old);
    for number in 10..14 {
        step(&mut trainer, number, 2, 0.5);
    }
    println!("told: {:?}", trainer.graph_counts());
}
