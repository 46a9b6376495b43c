from sam_adapt_ros.cli import main

main()
