package main

import (
	"context"
	"encoding/pem"
	"fmt"
	"net/url"
	"sort"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator/esx"
	"github.com/vmware/govmomi/vim25/types"
)

func encodePEM(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// populate makes datastores and machines through the API, as an administrator would; it returns the machines' morefs.
func populate(where *url.URL, wanted *setup) map[string]string {
	ctx := context.Background()
	client, err := govmomi.NewClient(ctx, where, true)
	check(err)
	defer func() { _ = client.Logout(ctx) }()
	finder := find.NewFinder(client.Client, true)
	datacenter, err := finder.DefaultDatacenter(ctx)
	check(err)
	finder.SetDatacenter(datacenter)
	hosts, err := finder.HostSystemList(ctx, "*")
	check(err)
	sort.Slice(hosts, func(i, j int) bool { return hosts[i].InventoryPath < hosts[j].InventoryPath })
	for name, folder := range wanted.Datastores {
		for _, host := range hosts {
			system, err := host.ConfigManager().DatastoreSystem(ctx)
			check(err)
			_, err = system.CreateLocalDatastore(ctx, name, folder)
			check(err)
		}
	}
	folders, err := datacenter.Folders(ctx)
	check(err)
	for name, members := range wanted.Pods {
		pod, err := folders.DatastoreFolder.CreateStoragePod(ctx, name)
		check(err)
		var moved []types.ManagedObjectReference
		for _, member := range members {
			moved = append(moved, datastore(member).Self)
		}
		task, err := pod.MoveInto(ctx, moved)
		check(err)
		check(task.Wait(ctx))
	}
	found := map[string]string{}
	for _, machine := range wanted.Machines {
		host := hosts[machine.Host]
		pool, err := host.ResourcePool(ctx)
		check(err)
		found[machine.Name] = create(ctx, folders, pool, host, &machine)
	}
	return found
}

func create(ctx context.Context, folders *object.DatacenterFolders, pool *object.ResourcePool, host *object.HostSystem,
	machine *machineSetup) string {
	var devices object.VirtualDeviceList
	scsi, err := devices.CreateSCSIController("pvscsi")
	check(err)
	nic := esx.EthernetCard
	devices = append(devices, scsi, &nic)
	for number, size := range machine.Disks {
		name := fmt.Sprintf("[%s] %s/%s.vmdk", machine.Datastore, machine.Name, machine.Name)
		if number > 0 {
			name = fmt.Sprintf("[%s] %s/%s_%d.vmdk", machine.Datastore, machine.Name, machine.Name, number)
		}
		disk := devices.CreateDisk(scsi.(types.BaseVirtualController), types.ManagedObjectReference{}, name)
		disk.CapacityInKB, disk.CapacityInBytes = size/1024, size
		disk.Key = int32(2000 + number)
		devices = append(devices, disk)
	}
	config := types.VirtualMachineConfigSpec{
		Name:    machine.Name,
		GuestId: string(types.VirtualMachineGuestOsIdentifierOtherGuest),
		Files:   &types.VirtualMachineFileInfo{VmPathName: fmt.Sprintf("[%s]", machine.Datastore)},
	}
	config.DeviceChange, err = devices.ConfigSpec(types.VirtualDeviceConfigSpecOperationAdd)
	check(err)
	task, err := folders.VmFolder.CreateVM(ctx, config, pool, host)
	check(err)
	info, err := task.WaitForResult(ctx, nil)
	check(err)
	vm := object.NewVirtualMachine(pool.Client(), info.Result.(types.ManagedObjectReference))
	if machine.On {
		task, err := vm.PowerOn(ctx)
		check(err)
		check(task.Wait(ctx))
	}
	return vm.Reference().Value
}
