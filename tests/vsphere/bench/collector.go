package main

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// collector is the simulator's, which panics when a client asks for a property that is unset, and of several sessions tells
// only one what changes.
type collector struct {
	simulator.PropertyCollector
	once sync.Once
}

// listener hears what changes, for one session's collector: the simulator knows listeners by reference, and those of all
// collectors are the same.
type listener struct {
	*collector
	reference types.ManagedObjectReference
}

func (l *listener) Reference() types.ManagedObjectReference { return l.reference }

var listeners int32

// listen begins before the collector looks for the first time: the simulator looks first, and misses what a task that ends
// in between has to tell.
func (c *collector) listen() {
	c.once.Do(func() {
		name := fmt.Sprintf("listener-%d", atomic.AddInt32(&listeners, 1))
		simulator.Map.AddHandler(&listener{c, types.ManagedObjectReference{Type: "PropertyCollector", Value: name}})
	})
}

// FetchResponse has the name that the answer has.
type FetchResponse struct {
	Returnval types.AnyType `xml:"returnval,omitempty,typeattr"`
}

type fetchBody struct {
	Res *FetchResponse
}

func (b *fetchBody) Fault() *soap.Fault { return nil }

// Fetch answers for an unset property with nothing; its request has a type that is the simulator's own.
func (c *collector) Fetch(ctx *simulator.Context, req interface{}) (answer soap.HasFault) {
	defer func() {
		if reason := recover(); reason != nil {
			if err, ok := reason.(error); !ok || !strings.HasSuffix(err.Error(), "index out of range [0] with length 0") {
				panic(reason)
			}
			answer = &fetchBody{Res: &FetchResponse{}}
		}
	}()
	fetch := reflect.ValueOf(&c.PropertyCollector).MethodByName("Fetch")
	return fetch.Call([]reflect.Value{reflect.ValueOf(ctx), reflect.ValueOf(req)})[0].Interface().(soap.HasFault)
}

// collect puts it into place.
func collect() {
	service := simulator.Map.Get(vim25.ServiceInstance).(*simulator.ServiceInstance)
	mine := &collector{}
	mine.Self = service.Content.PropertyCollector
	simulator.Map.Put(mine)
}

// WaitForUpdates is the simulator's.
func (c *collector) WaitForUpdates(ctx *simulator.Context, r *types.WaitForUpdates) soap.HasFault {
	c.listen()
	return c.PropertyCollector.WaitForUpdates(ctx, r)
}

// WaitForUpdatesEx is the newer one.
func (c *collector) WaitForUpdatesEx(ctx *simulator.Context, r *types.WaitForUpdatesEx) soap.HasFault {
	c.listen()
	return c.PropertyCollector.WaitForUpdatesEx(ctx, r)
}
