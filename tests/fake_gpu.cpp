// Lets tensors without data say that they are on a CUDA device, in a torch that was built without
// CUDA: it asks for a guard of the device before it indexes a tensor or runs a backward pass.

#include <c10/core/impl/DeviceGuardImplInterface.h>

namespace {

const c10::impl::DeviceGuardImplRegistrar registered(
    c10::DeviceType::CUDA, new c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::CUDA>());

} // namespace
