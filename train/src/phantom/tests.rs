use super::*;

#[test]
#[ignore = "writes raw volumes for looking at"]
fn dump() {
    let get = |name: &str, default: &str| std::env::var(name).unwrap_or(default.into());
    let size: Vec<usize> = get("PH_SIZE", "192x192x128").split('x').map(|v| v.parse().unwrap()).collect();
    for index in get("PH_INDEX", "0").split(',').map(|v| v.parse::<u64>().unwrap()) {
        let config = PhantomConfig::new([size[0], size[1], size[2]], 1, index);
        let start = std::time::Instant::now();
        let phantom = generate(&config, get("PH_THREADS", "1").parse().unwrap()).unwrap();
        println!("{index}: {:?} {:?}", start.elapsed(), phantom.nodules);
        let base = format!("/tmp/ph/p{index}");
        std::fs::write(format!("{base}.hu"), bytemuck::cast_slice(&phantom.hounsfield)).unwrap();
        std::fs::write(format!("{base}.lab"), &phantom.labels).unwrap();
        std::fs::write(format!("{base}.txt"), format!("{:?} {:?}", phantom.size, phantom.spacing)).unwrap();
    }
}
