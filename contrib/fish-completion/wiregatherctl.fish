# Completion of wiregatherctl(8) for fish.

# Print the interfaces that have a statistics socket.
function __wiregatherctl_interfaces
    for file in /var/run/wireguard/*.stats
        string replace -r '^.*/(.*)\.stats$' '$1' -- $file
    end
end

complete -c wiregatherctl -f
complete -c wiregatherctl -n __fish_use_subcommand -l help -d 'Print the usage'
complete -c wiregatherctl -n __fish_use_subcommand -l version -d 'Print the version'
complete -c wiregatherctl -n __fish_use_subcommand -a bundle -d 'Collect what the report of a fault needs, without keys'
complete -c wiregatherctl -n __fish_use_subcommand -a events -d 'Print what happens'
complete -c wiregatherctl -n __fish_use_subcommand -a exec -d 'Run a command in a tunnel of run'
complete -c wiregatherctl -n __fish_use_subcommand -a metrics -d 'Print metrics for Prometheus'
complete -c wiregatherctl -n __fish_use_subcommand -a reresolve -d 'Keep endpoints that are given by name current'
complete -c wiregatherctl -n __fish_use_subcommand -a run -d 'Make a tunnel for one command'
complete -c wiregatherctl -n __fish_use_subcommand -a status -d 'Print what the interfaces do'
complete -c wiregatherctl -n __fish_use_subcommand -a top -d 'Show interfaces and peers on the terminal'
complete -c wiregatherctl -n __fish_use_subcommand -a upgrade -d 'Have a new program go on for a running tunnel'
complete -c wiregatherctl -n __fish_use_subcommand -a why -d 'Find out why something does not work'
complete -c wiregatherctl -n 'not __fish_use_subcommand' -a '(__wiregatherctl_interfaces)' -d Interface

complete -c wiregatherctl -n '__fish_seen_subcommand_from bundle' -l output -r -F -d 'Write to a new file'
complete -c wiregatherctl -n '__fish_seen_subcommand_from bundle' -l seconds -x -d 'How long events are collected'
complete -c wiregatherctl -n '__fish_seen_subcommand_from events' -l follow -d 'Print events as they happen'
complete -c wiregatherctl -n '__fish_seen_subcommand_from events' -l json -d 'For programs'
complete -c wiregatherctl -n '__fish_seen_subcommand_from metrics' -l http -d 'Answer a request of HTTP on stdin'
complete -c wiregatherctl -n '__fish_seen_subcommand_from metrics' -l listen -d 'Answer requests of HTTP on loopback'
complete -c wiregatherctl -n '__fish_seen_subcommand_from metrics' -l openmetrics -d 'As OpenMetrics 1.0'
complete -c wiregatherctl -n '__fish_seen_subcommand_from metrics' -l textfile -x -a '(__fish_complete_directories)' -d 'Write a file into a directory'
complete -c wiregatherctl -n '__fish_seen_subcommand_from reresolve' -l config -r -F -d 'Read this file'
complete -c wiregatherctl -n '__fish_seen_subcommand_from reresolve' -l interval -x -d 'Time between two looks'
complete -c wiregatherctl -n '__fish_seen_subcommand_from reresolve' -l once -d 'Resolve all names once, and end'
complete -c wiregatherctl -n '__fish_seen_subcommand_from run' -l config -r -F -d 'A file of wg-quick, or a name'
complete -c wiregatherctl -n '__fish_seen_subcommand_from run' -l name -x -d 'Name of the tunnel'
complete -c wiregatherctl -n '__fish_seen_subcommand_from run' -l netns -x -d 'A network namespace of ip-netns, for root'
complete -c wiregatherctl -n '__fish_seen_subcommand_from run' -l publish -x -d 'A port outside that leads to one inside'
complete -c wiregatherctl -n '__fish_seen_subcommand_from status' -l json -d 'For programs'
complete -c wiregatherctl -n '__fish_seen_subcommand_from status' -l quiet -d 'Print nothing'
complete -c wiregatherctl -n '__fish_seen_subcommand_from top' -l interval -x -d 'Time between two samples'
complete -c wiregatherctl -n '__fish_seen_subcommand_from top' -l sort -x -a 'drops handshake in name out' -d 'What peers are sorted by'
complete -c wiregatherctl -n '__fish_seen_subcommand_from upgrade' -l all -d 'All tunnels'
complete -c wiregatherctl -n '__fish_seen_subcommand_from upgrade' -l if-changed -d 'Only if the file of the program is another one'
complete -c wiregatherctl -n '__fish_seen_subcommand_from upgrade' -l program -r -F -d 'The new program'
complete -c wiregatherctl -n '__fish_seen_subcommand_from upgrade' -l timeout -x -d 'How long to wait for each tunnel'
complete -c wiregatherctl -n '__fish_seen_subcommand_from why' -l json -d 'For programs'
complete -c wiregatherctl -n '__fish_seen_subcommand_from why' -l passive -d 'Send nothing'
