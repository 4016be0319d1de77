// Screens one brain and prints its score, as examples/c/screen.c, without a crate:
//
//   rustc screen.rs -L native=LIBDIR -l dal_fast
use std::ffi::{c_char, c_void, CStr, CString};
use std::{env, fs, mem, process, ptr};

#[repr(C)]
struct DalError {
    struct_size: u32,
    status: i32,
    code: [c_char; 32],
    message: [c_char; 472],
}

#[repr(C)]
#[derive(Clone)]
struct DalImage {
    struct_size: u32,
    dtype: i32,
    shape: [i64; 3],
    stride: [i64; 3],
    data: *const c_void,
    planes: *const *const c_void,
    affine: [f64; 16],
    space: i32,
    reserved: i32,
    slope: f64,
    intercept: f64,
    plane_slope: *const f64,
    plane_intercept: *const f64,
}

#[repr(C)]
struct DalRequest {
    struct_size: u32,
    flags: u32,
    scan: *const DalImage,
    mask: *const DalImage,
    contrast: i32,
    outputs_count: i32,
    outputs: *const c_void,
    deadline_ms: i64,
    threshold: f64,
}

#[repr(C)]
struct DalSummary {
    struct_size: u32,
    contrast: i32,
    looks_like: i32,
    sign: i32,
    score: f64,
    threshold: f64,
    brain_ml: f64,
    brain_confidence: f64,
    nonfinite: i64,
    regions: i32,
    reserved: i32,
    seconds: [f64; 16],
}

#[repr(C)]
struct DalOptions {
    struct_size: u32,
    threads: i32,
    engine: *const c_char,
    engine_path: *const c_char,
    cache_folder: *const c_char,
    executor: *const c_void,
    allocator: *const c_void,
    log: *const c_void,
    log_user: *const c_void,
}

extern "C" {
    fn dal_engine_open(path: *const c_char, options: *const DalOptions, engine: *mut *mut c_void,
                       error: *mut DalError) -> i32;
    fn dal_engine_close(engine: *mut c_void);
    fn dal_session_open(engine: *mut c_void, limits: *const c_void, session: *mut *mut c_void,
                        error: *mut DalError) -> i32;
    fn dal_session_close(session: *mut c_void);
    fn dal_run(session: *mut c_void, request: *const DalRequest, summary: *mut DalSummary,
               error: *mut DalError) -> i32;
}

const DAL_U8: i32 = 1;
const DAL_F32: i32 = 7;

/// A struct of which all is 0 but its size, which is its first member.
fn sized<T>() -> T {
    unsafe {
        let mut value: T = mem::zeroed();
        *(&mut value as *mut T as *mut u32) = mem::size_of::<T>() as u32;
        value
    }
}

fn checked(status: i32, error: &DalError) {
    if status != 0 {
        eprintln!("{}", unsafe { CStr::from_ptr(error.message.as_ptr()) }.to_string_lossy());
        process::exit(1);
    }
}

fn main() {
    let words: Vec<String> = env::args().collect();
    if words.len() != 9 {
        eprintln!("usage: screen BUNDLE ENGINE SCAN MASK I J K MILLIMETRES");
        process::exit(2);
    }
    let mut scan: DalImage = sized();
    scan.dtype = DAL_F32;
    for axis in 0..3 {
        scan.shape[axis] = words[5 + axis].parse().expect("a side");
        scan.affine[5 * axis] = words[8].parse().expect("millimetres");
    }
    scan.affine[15] = 1.0;
    let mut mask = scan.clone();
    mask.dtype = DAL_U8;
    let (values, brain) = (fs::read(&words[3]).expect("the scan"), fs::read(&words[4]).expect("the mask"));
    let voxels: i64 = scan.shape.iter().product();
    assert!(values.len() as i64 == 4 * voxels && brain.len() as i64 == voxels, "a file does not hold as many voxels as the sides say");
    scan.data = values.as_ptr() as *const c_void;
    mask.data = brain.as_ptr() as *const c_void;

    let (bundle, folder) = (CString::new(words[1].as_str()).unwrap(), CString::new(words[2].as_str()).unwrap());
    let mut options: DalOptions = sized();
    options.engine_path = folder.as_ptr();
    let mut error: DalError = sized();
    let (mut engine, mut session) = (ptr::null_mut(), ptr::null_mut());
    let mut found: DalSummary = sized();
    unsafe {
        checked(dal_engine_open(bundle.as_ptr(), &options, &mut engine, &mut error), &error);
        checked(dal_session_open(engine, ptr::null(), &mut session, &mut error), &error);
        let mut request: DalRequest = sized();
        request.scan = &scan;
        request.mask = &mask;
        checked(dal_run(session, &request, &mut found, &mut error), &error);
        dal_session_close(session);
        dal_engine_close(engine);
    }
    println!("score {:.6}\nregions {}", found.score, found.regions);
}
