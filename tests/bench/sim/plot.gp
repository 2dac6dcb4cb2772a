# SPDX-License-Identifier: GPL-2.0-or-later
# gnuplot -e "folder='build/sim'" plot.gp: sim.dat as sim.svg and sim.png
# sim.dat: blocks workload by workload (hammer, hotplug, fault), in each design by design;
# columns: vCPUs, operations per us, p50, p99, p99.9, longest in us.

designs = "single rwsem refcount range spf region region-membarrier"
colours = "#888888 #d95f02 #e6ab02 #7570b3 #1b9e77 #1f5fb4 #66a3e0"
data = folder . "/sim.dat"
count = words(designs)

set datafile missing "None"
set logscale x 2
set xrange [1:1024]
set xtics 4
set grid back lc rgb "#dddddd"
set key bottom right font ",9"

do for [format in "svg png"] {
	if (format eq "svg") {
		set terminal svg size 1200,520 background "white" font "sans,11"
	} else {
		set terminal pngcairo size 1200,520 background "white" font "sans,11"
	}
	set output folder . "/sim." . format
	set multiplot layout 1,3 title "PREDICTION by simulation (tests/bench/sim), not a measurement: assumed machine, sockets of 64 CPUs"
	set xlabel "vCPUs"
	set logscale y
	set format y "10^{%L}"

	set title "find + lock + unlock, all in one region, nobody writes"
	set ylabel "operations per us"
	set key top left
	plot for [i = 1:count] data index i - 1 using 1:2 with linespoints lw 2 pt 7 ps 0.5 \
		lc rgb word(colours, i) title word(designs, i)

	set title "pin for 100 ns, hotplug in the same region"
	set ylabel "p99.9, us"
	unset key
	plot for [i = 1:count] data index count + i - 1 using 1:5 with linespoints lw 2 pt 7 ps 0.5 \
		lc rgb word(colours, i)

	set title "fault, 16 pages, hotplug in the same region"
	plot for [i = 1:count] data index 2 * count + i - 1 using 1:5 with linespoints lw 2 pt 7 ps 0.5 \
		lc rgb word(colours, i)
	unset multiplot
	set key
}
