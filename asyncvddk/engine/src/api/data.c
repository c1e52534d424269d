/* Exported: reading and writing. */
#include "api/api.h"

#include "calls/async.h"

/* True if [start, start+count) lies inside capacity sectors; the sum cannot wrap. */
static bool
in_range (uint64 capacity, uint64 start, uint64 count)
{
  return count <= capacity && start <= capacity - count;
}

/* VIX_E_INVALID_ARG: no open disk, no buffer; VIX_E_DISK_OUTOFRANGE. */
static VixError
check_transfer (const struct handle *h, uint64 start, uint64 count, const void *buffer)
{
  if (h == NULL || buffer == NULL)
    return VIX_E_INVALID_ARG;
  return in_range (h->capacity, start, count) ? VIX_OK : VIX_E_DISK_OUTOFRANGE;
}

/* As check_transfer, and VIX_E_FILE_ACCESS_ERROR: opened for reading only. */
static VixError
check_write (const struct handle *h, uint64 start, uint64 count, const void *buffer)
{
  VixError err = check_transfer (h, start, count, buffer);

  return err == VIX_OK && h->read_only ? VIX_E_FILE_ACCESS_ERROR : err;
}

/* Those of check_transfer and disk_read. */
VixError
VixDiskLib_Read (VixDiskLibHandle diskHandle, VixDiskLibSectorType startSector, VixDiskLibSectorType numSectors,
                 uint8 *readBuffer)
{
  API_ENTER ();
  WITH_HANDLE struct handle *h = handle_get (diskHandle);
  VixError err = check_transfer (h, startSector, numSectors, readBuffer);
  if (err != VIX_OK || numSectors == 0)
    return err;
  pace_wait (&h->pace, numSectors * VIXDISKLIB_SECTOR_SIZE);
  return disk_read (h->disk, startSector, numSectors, readBuffer, false);
}

/* Those of check_write and disk_write. */
VixError
VixDiskLib_Write (VixDiskLibHandle diskHandle, VixDiskLibSectorType startSector, VixDiskLibSectorType numSectors,
                  const uint8 *writeBuffer)
{
  API_ENTER ();
  WITH_HANDLE struct handle *h = handle_get (diskHandle);
  VixError err = check_write (h, startSector, numSectors, writeBuffer);
  if (err != VIX_OK || numSectors == 0)
    return err;
  pace_wait (&h->pace, numSectors * VIXDISKLIB_SECTOR_SIZE);
  return disk_write (h->disk, startSector, numSectors, writeBuffer);
}

/* VIX_ASYNC, or an error of check_transfer or async_submit and no callback. */
VixError
VixDiskLib_ReadAsync (VixDiskLibHandle diskHandle, VixDiskLibSectorType startSector, VixDiskLibSectorType numSectors,
                      uint8 *readBuffer, VixDiskLibCompletionCB callback, void *cbData)
{
  API_ENTER ();
  WITH_HANDLE struct handle *h = handle_get (diskHandle);
  VixError err = check_transfer (h, startSector, numSectors, readBuffer);
  if (err == VIX_OK && callback == NULL)
    err = VIX_E_INVALID_ARG;
  if (err != VIX_OK)
    return err;
  return async_submit (&(struct request) {
    .operation = OPERATION_READ,
    .handle = h,
    .start = startSector,
    .count = numSectors,
    .buffer.in = readBuffer,
    .callback = callback,
    .data = cbData,
  });
}

/* VIX_ASYNC, or an error of check_write or async_submit and no callback. */
VixError
VixDiskLib_WriteAsync (VixDiskLibHandle diskHandle, VixDiskLibSectorType startSector, VixDiskLibSectorType numSectors,
                       const uint8 *writeBuffer, VixDiskLibCompletionCB callback, void *cbData)
{
  API_ENTER ();
  WITH_HANDLE struct handle *h = handle_get (diskHandle);
  VixError err = check_write (h, startSector, numSectors, writeBuffer);
  if (err == VIX_OK && callback == NULL)
    err = VIX_E_INVALID_ARG;
  if (err != VIX_OK)
    return err;
  return async_submit (&(struct request) {
    .operation = OPERATION_WRITE,
    .handle = h,
    .start = startSector,
    .count = numSectors,
    .buffer.out = writeBuffer,
    .callback = callback,
    .data = cbData,
  });
}

/* VIX_E_INVALID_ARG, VIX_E_OBJECT_IS_BUSY: called inside of one of the handle's callbacks. */
VixError
VixDiskLib_Wait (VixDiskLibHandle diskHandle)
{
  API_ENTER ();
  WITH_HANDLE struct handle *h = handle_get (diskHandle);
  if (h == NULL)
    return VIX_E_INVALID_ARG;
  if (async_in_callback (h))
    return VIX_E_OBJECT_IS_BUSY;
  gate_wait (&h->requests);
  return inject (VDDK_VIXDISKLIB_VIXDISKLIB_WAIT_FAIL);
}

/* VIX_E_INVALID_ARG, those of disk_flush. */
VixError
VixDiskLib_Flush (VixDiskLibHandle diskHandle)
{
  API_ENTER ();
  WITH_HANDLE struct handle *h = handle_get (diskHandle);
  return h == NULL ? VIX_E_INVALID_ARG : disk_flush (h->disk);
}
