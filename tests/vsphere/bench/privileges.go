package main

import (
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// needs has the privilege that a task of a machine needs.
var needs = map[string]string{
	"CreateSnapshot_Task":     "VirtualMachine.State.CreateSnapshot",
	"RemoveSnapshot_Task":     "VirtualMachine.State.RemoveSnapshot",
	"RemoveAllSnapshots_Task": "VirtualMachine.State.RemoveSnapshot",
	"ReconfigVM_Task":         "VirtualMachine.Config.ChangeTracking",
	"QueryChangedDiskAreas":   "VirtualMachine.Provisioning.DiskRandomRead",
}

func denied(privilege string) bool {
	for _, one := range faults.now().Deny {
		if one == privilege {
			return true
		}
	}
	return false
}

// allowed returns what a client gets to see who calls a method without the privilege for it.
func (m *machine) allowed(method string) types.BaseMethodFault {
	if privilege := needs[method]; privilege != "" && denied(privilege) {
		return &types.NoPermission{Object: m.Self, PrivilegeId: privilege}
	}
	return nil
}

// HasPrivilegeOnEntityResponse has the name that the answer has; govmomi's own leaves out each false.
type HasPrivilegeOnEntityResponse struct {
	Returnval []bool `xml:"returnval"`
}

type hasPrivilegeBody struct {
	Res *HasPrivilegeOnEntityResponse
}

func (b *hasPrivilegeBody) Fault() *soap.Fault { return nil }

// HasPrivilegeOnEntity and the others answer as the simulator, where everybody has all, but for what is denied.
func (a *authorization) HasPrivilegeOnEntity(req *types.HasPrivilegeOnEntity) soap.HasFault {
	answer := &HasPrivilegeOnEntityResponse{}
	for _, privilege := range req.PrivId {
		answer.Returnval = append(answer.Returnval, !denied(privilege))
	}
	return &hasPrivilegeBody{Res: answer}
}

// HasPrivilegeOnEntities is for many objects.
func (a *authorization) HasPrivilegeOnEntities(req *types.HasPrivilegeOnEntities) soap.HasFault {
	answer := a.AuthorizationManager.HasPrivilegeOnEntities(req).(*methods.HasPrivilegeOnEntitiesBody)
	grant(answer.Res.Returnval)
	return answer
}

// HasUserPrivilegeOnEntities is for a user by name.
func (a *authorization) HasUserPrivilegeOnEntities(req *types.HasUserPrivilegeOnEntities) soap.HasFault {
	answer := a.AuthorizationManager.HasUserPrivilegeOnEntities(req).(*methods.HasUserPrivilegeOnEntitiesBody)
	grant(answer.Res.Returnval)
	return answer
}

func grant(entities []types.EntityPrivilege) {
	for _, entity := range entities {
		for i := range entity.PrivAvailability {
			entity.PrivAvailability[i].IsGranted = !denied(entity.PrivAvailability[i].PrivId)
		}
	}
}

// FetchUserPrivilegeOnEntities lists what a user has.
func (a *authorization) FetchUserPrivilegeOnEntities(req *types.FetchUserPrivilegeOnEntities) soap.HasFault {
	answer := a.AuthorizationManager.FetchUserPrivilegeOnEntities(req).(*methods.FetchUserPrivilegeOnEntitiesBody)
	for i := range answer.Res.Returnval {
		answer.Res.Returnval[i].Privileges = without(answer.Res.Returnval[i].Privileges, faults.now().Deny)
	}
	return answer
}
