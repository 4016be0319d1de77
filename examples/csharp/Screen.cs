// Screens one brain and prints its score, as examples/c/screen.c:
//
//   mcs Screen.cs && LD_LIBRARY_PATH=LIBDIR mono Screen.exe ...
using System;
using System.Globalization;
using System.IO;
using System.Runtime.InteropServices;
using System.Text;

static class Screen {
  const string Library = "libdal_fast.so.1";
  const int U8 = 1, F32 = 7;

  [StructLayout(LayoutKind.Sequential)]
  struct DalError {
    public uint structSize;
    public int status;
    [MarshalAs(UnmanagedType.ByValArray, SizeConst = 32)] public byte[] code;
    [MarshalAs(UnmanagedType.ByValArray, SizeConst = 472)] public byte[] message;
  }

  [StructLayout(LayoutKind.Sequential)]
  struct DalImage {
    public uint structSize;
    public int dtype;
    [MarshalAs(UnmanagedType.ByValArray, SizeConst = 3)] public long[] shape;
    [MarshalAs(UnmanagedType.ByValArray, SizeConst = 3)] public long[] stride;
    public IntPtr data, planes;
    [MarshalAs(UnmanagedType.ByValArray, SizeConst = 16)] public double[] affine;
    public int space, reserved;
    public double slope, intercept;
    public IntPtr planeSlope, planeIntercept;
  }

  [StructLayout(LayoutKind.Sequential)]
  struct DalRequest {
    public uint structSize, flags;
    public IntPtr scan, mask;
    public int contrast, outputsCount;
    public IntPtr outputs;
    public long deadlineMs;
    public double threshold;
  }

  [StructLayout(LayoutKind.Sequential)]
  struct DalSummary {
    public uint structSize;
    public int contrast, looksLike, sign;
    public double score, threshold, brainMl, brainConfidence;
    public long nonfinite;
    public int regions, reserved;
    [MarshalAs(UnmanagedType.ByValArray, SizeConst = 16)] public double[] seconds;
  }

  [StructLayout(LayoutKind.Sequential)]
  struct DalOptions {
    public uint structSize;
    public int threads;
    public IntPtr engine, enginePath, cacheFolder, executor, allocator, log, logUser;
  }

  [DllImport(Library)] static extern int dal_engine_open(byte[] path, ref DalOptions options, out IntPtr engine,
                                                         ref DalError error);
  [DllImport(Library)] static extern void dal_engine_close(IntPtr engine);
  [DllImport(Library)] static extern int dal_session_open(IntPtr engine, IntPtr limits, out IntPtr session,
                                                          ref DalError error);
  [DllImport(Library)] static extern void dal_session_close(IntPtr session);
  [DllImport(Library)] static extern int dal_run(IntPtr session, ref DalRequest request, ref DalSummary summary,
                                                 ref DalError error);

  static byte[] Text(string text) { return Encoding.UTF8.GetBytes(text + "\0"); }

  static IntPtr Pinned(object value) {
    return GCHandle.Alloc(value, GCHandleType.Pinned).AddrOfPinnedObject();
  }

  static IntPtr Copied(DalImage image) {
    IntPtr place = Marshal.AllocHGlobal(Marshal.SizeOf(image));
    Marshal.StructureToPtr(image, place, false);
    return place;
  }

  static void Checked(int status, DalError error) {
    if (status == 0) return;
    Console.Error.WriteLine(Encoding.UTF8.GetString(error.message).TrimEnd('\0'));
    Environment.Exit(1);
  }

  static int Main(string[] words) {
    if (words.Length != 8) {
      Console.Error.WriteLine("usage: Screen.exe BUNDLE ENGINE SCAN MASK I J K MILLIMETRES");
      return 2;
    }
    var scan = new DalImage {
      structSize = (uint)Marshal.SizeOf(typeof(DalImage)), dtype = F32, shape = new long[3],
      stride = new long[3], affine = new double[16]
    };
    for (int axis = 0; axis < 3; ++axis) {
      scan.shape[axis] = long.Parse(words[4 + axis]);
      scan.affine[5 * axis] = double.Parse(words[7], CultureInfo.InvariantCulture);
    }
    scan.affine[15] = 1;
    DalImage mask = scan;
    mask.dtype = U8;
    byte[] values = File.ReadAllBytes(words[2]), brain = File.ReadAllBytes(words[3]);
    long voxels = scan.shape[0] * scan.shape[1] * scan.shape[2];
    if (values.Length != 4 * voxels || brain.Length != voxels) {
      Console.Error.WriteLine("a file does not hold as many voxels as the sides say");
      return 1;
    }
    scan.data = Pinned(values);
    mask.data = Pinned(brain);

    var error = new DalError {
      structSize = (uint)Marshal.SizeOf(typeof(DalError)), code = new byte[32], message = new byte[472]
    };
    var options = new DalOptions {
      structSize = (uint)Marshal.SizeOf(typeof(DalOptions)), enginePath = Pinned(Text(words[1]))
    };
    var found = new DalSummary {
      structSize = (uint)Marshal.SizeOf(typeof(DalSummary)), seconds = new double[16]
    };
    var request = new DalRequest {
      structSize = (uint)Marshal.SizeOf(typeof(DalRequest)), scan = Copied(scan), mask = Copied(mask)
    };
    IntPtr engine, session;
    Checked(dal_engine_open(Text(words[0]), ref options, out engine, ref error), error);
    Checked(dal_session_open(engine, IntPtr.Zero, out session, ref error), error);
    Checked(dal_run(session, ref request, ref found, ref error), error);
    Console.WriteLine(string.Format(CultureInfo.InvariantCulture, "score {0:F6}\nregions {1}", found.score,
                                    found.regions));
    dal_session_close(session);
    dal_engine_close(engine);
    return 0;
  }
}
