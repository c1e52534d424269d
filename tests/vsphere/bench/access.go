package main

import (
	"reflect"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// DisableMethods and EnableMethods are what PrepareForAccess and EndAccess of VMware's library call; govmomi has no types
// for them, as they are in no public interface.

type disabledMethod struct {
	Method   string `xml:"method"`
	ReasonID string `xml:"reasonId"`
}

type disableMethods struct {
	This         types.ManagedObjectReference   `xml:"_this"`
	Entity       []types.ManagedObjectReference `xml:"entity"`
	Method       []disabledMethod               `xml:"method"`
	SourceID     string                         `xml:"sourceId"`
	SessionScope bool                           `xml:"sessionScope"`
}

type enableMethods struct {
	This     types.ManagedObjectReference   `xml:"_this"`
	Entity   []types.ManagedObjectReference `xml:"entity"`
	Method   []string                       `xml:"method"`
	SourceID string                         `xml:"sourceId"`
}

// DisableMethodsResponse and its sister have the names that the answers have.
type DisableMethodsResponse struct{}

// EnableMethodsResponse is empty.
type EnableMethodsResponse struct{}

type disableMethodsBody struct {
	Res    *DisableMethodsResponse
	Fault_ *soap.Fault
}

func (b *disableMethodsBody) Fault() *soap.Fault { return b.Fault_ }

type enableMethodsBody struct {
	Res    *EnableMethodsResponse
	Fault_ *soap.Fault
}

func (b *enableMethodsBody) Fault() *soap.Fault { return b.Fault_ }

// authorization is the simulator's, with those two.
type authorization struct {
	simulator.AuthorizationManager
}

// disable adds what the simulator lacks.
func disable() {
	types.Add("DisableMethods", reflect.TypeOf((*disableMethods)(nil)).Elem())
	types.Add("EnableMethods", reflect.TypeOf((*enableMethods)(nil)).Elem())
	reference := types.ManagedObjectReference{Type: "AuthorizationManager", Value: "AuthorizationManager"}
	inner := simulator.Map.Get(reference).(*simulator.AuthorizationManager)
	simulator.Map.Put(&authorization{AuthorizationManager: *inner})
}

func (*authorization) DisableMethods(req *disableMethods) soap.HasFault {
	for _, entity := range req.Entity {
		m, ok := simulator.Map.Get(entity).(*machine)
		if !ok {
			return &disableMethodsBody{Fault_: simulator.Fault("", &types.ManagedObjectNotFound{Obj: entity})}
		}
		var methods []string
		for _, one := range req.Method {
			methods = append(methods, one.Method)
		}
		simulator.Map.WithLock(m, func() { m.disable(req.SourceID, methods) })
	}
	return &disableMethodsBody{Res: &DisableMethodsResponse{}}
}

func (*authorization) EnableMethods(req *enableMethods) soap.HasFault {
	for _, entity := range req.Entity {
		m, ok := simulator.Map.Get(entity).(*machine)
		if !ok {
			return &enableMethodsBody{Fault_: simulator.Fault("", &types.ManagedObjectNotFound{Obj: entity})}
		}
		simulator.Map.WithLock(m, func() { m.disable(req.SourceID, without(m.locks[req.SourceID], req.Method)) })
	}
	return &enableMethodsBody{Res: &EnableMethodsResponse{}}
}

// disable notes what a source wants disabled, nothing for none; what any source wants is disabled.
func (m *machine) disable(source string, methods []string) {
	locks := map[string][]string{}
	for one, theirs := range m.locks {
		locks[one] = theirs
	}
	delete(locks, source)
	if len(methods) > 0 {
		locks[source] = methods
	}
	m.locks, m.DisabledMethod = locks, nil
	for _, theirs := range locks {
		m.DisabledMethod = append(m.DisabledMethod, theirs...)
	}
}

func without(all, removed []string) []string {
	gone := map[string]bool{}
	for _, one := range removed {
		gone[one] = true
	}
	var left []string
	for _, one := range all {
		if !gone[one] {
			left = append(left, one)
		}
	}
	return left
}
